"""Taking, keeping and giving up a lease.

Every change of a lease file after it was made (taking it over, removing it) happens under
a *claim* on its token: a file ``.TOKEN.claim`` beside it, exclusive as the lease itself, and the
lease is read again once the claim is there. So of many processes that find a lease stale
exactly one replaces it, and a late holder cannot remove its successor's. A claim whose
maker died is taken over in the same way; one that was merely left behind is never asked for
again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.files import refuse_output
from immo_hpc.lease.owner import Owner, from_text, lives_here, new_owner, to_text, token_of

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class Lease:
    """A held lease, with the thread that gives its signs of life. Made by `Watcher`."""

    def __init__(self, path: Path, owner: Owner, descriptor: int, watcher: Watcher) -> None:
        self._path, self._owner, self._watcher = path, owner, watcher
        self._descriptor = descriptor
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"lease {path.name}", daemon=True)
        self._heart.start()

    def is_ours(self) -> bool:
        """True unless somebody took the lease over, or removed it."""
        return _holds(self._path, self._owner)

    def release(self) -> None:
        """Give the lease up, and remove its file if it is still ours."""
        if os.getpid() != self._owner.pid:
            return  # A forked child leaves its parent's lease alone.
        self._over.set()
        self._heart.join()
        os.close(self._descriptor)
        try:
            with self._watcher.claim(self._path, self._owner.token) as claimed:
                if claimed and self.is_ours():
                    self._path.unlink(missing_ok=True)
        except OSError:  # No claim can be made on a full disk, or in a folder that is gone.
            if self.is_ours():
                self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        num_beats = 0
        while not self._over.wait(self._owner.stale_after_s / 4):
            num_beats += 1
            # A beat that fails is like one that was missed: the next may succeed.
            with contextlib.suppress(OSError):
                # Written into the file itself, so that a successor's is never touched.
                os.pwrite(self._descriptor, to_text(self._owner, num_beats), 0)
                os.fsync(self._descriptor)


@dataclass(frozen=True)
class _Sight:
    text: bytes
    since: float  # Monotonic time at which the file first had this text.
    is_new: bool  # The text was seen to change, so somebody lived when it did.


class Watcher:
    """What this process has seen of leases, over any number of attempts to take them.

    Args:
        stale_after_s: See `immo_hpc.lease.hold`.
    """

    def __init__(self, stale_after_s: float) -> None:
        self.stale_after_s = stale_after_s
        self.poll_s = min(0.25, stale_after_s / 16)
        self._sights: dict[Path, _Sight] = {}

    def try_take(self, path: Path) -> Lease | None:
        """The lease, if it is free or its holder is dead; None if another process has it.

        Raises:
            OutputError: If the folder is absent or cannot be written.
        """
        owner = new_owner(self.stale_after_s)
        try:
            descriptor = self._take(path, owner)
        except OSError as error:
            refuse_output(path, error)
        return None if descriptor is None else Lease(path, owner, descriptor, self)

    def is_alive(self, path: Path) -> bool:
        """True if the holder last seen lives on this host, or was seen to give a sign."""
        sight = self._sights.get(path)
        if sight is None:
            return False
        owner = from_text(sight.text)
        return sight.is_new or (owner is not None and lives_here(owner) is True)

    def last_seen(self, path: Path) -> bytes | None:
        """Text of the lease at the last attempt to take it."""
        sight = self._sights.get(path)
        return None if sight is None else sight.text

    @contextlib.contextmanager
    def claim(self, path: Path, token: str) -> Iterator[bool]:
        """The sole right to change the lease ``path`` while it has ``token``; False: not ours."""
        place = path.with_name(f".{token}.claim")
        owner = new_owner(self.stale_after_s)
        descriptor = self._take(place, owner)
        if descriptor is None:
            yield False
            return
        os.close(descriptor)
        try:
            yield True
        finally:
            if _holds(place, owner):
                place.unlink(missing_ok=True)

    def _take(self, path: Path, owner: Owner) -> int | None:
        """Descriptor of the lease file that is now the owner's, or None."""
        temporary = path.with_name(f".{owner.token}.{path.name}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(descriptor, to_text(owner))
            os.fsync(descriptor)
            made = _link(temporary, path, descriptor, owner)
            if made is None and self._is_dead(path) and self._replace(temporary, path, owner):
                made = descriptor
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            temporary.unlink(missing_ok=True)
        if made != descriptor:
            os.close(descriptor)
        return made

    def _replace(self, temporary: Path, path: Path, owner: Owner) -> bool:
        dead = self._sights[path].text
        with self.claim(path, token_of(path, dead)) as claimed:
            if not claimed or _read(path) != dead:
                return False
            # On a network a repeated request may report that a rename done failed.
            with contextlib.suppress(FileNotFoundError):
                temporary.replace(path)
            return _holds(path, owner)

    def _is_dead(self, path: Path) -> bool:
        """Look at the lease once more; True if its holder may be replaced."""
        text = _read(path)
        if text is None:  # Just released: the next attempt may have it.
            self._sights.pop(path, None)
            return False
        sight = self._sights.get(path)
        if sight is None or sight.text != text:
            sight = _Sight(text, time.monotonic(), is_new=sight is not None)
            self._sights[path] = sight
        owner = from_text(text)
        if owner is not None and lives_here(owner) is False:
            return True
        wait_s = max(self.stale_after_s, 0.0 if owner is None else owner.stale_after_s)
        return time.monotonic() - sight.since >= wait_s


def _link(temporary: Path, path: Path, descriptor: int, owner: Owner) -> int | None:
    """Give the file its name unless that is taken; descriptor of the named file, or None."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        # On a network a repeated request may report that a link it made is there already.
        return descriptor if _holds(path, owner) else None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create(path, owner)
    return descriptor


def _create(path: Path, owner: Owner) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return None
    os.write(descriptor, to_text(owner))
    os.fsync(descriptor)
    return descriptor


def _holds(path: Path, owner: Owner) -> bool:
    text = _read(path)
    return text is not None and token_of(path, text) == owner.token


def _read(path: Path) -> bytes | None:
    # Opened, not asked for its times: those may be remembered for a minute on a network.
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
