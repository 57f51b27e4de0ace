"""A folder of files that any number of processes, on any number of hosts, make together."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.files import atomic_path, is_disk_full, make_folder, refuse_output
from immo_hpc.lease import Lease, Watcher


@dataclass(frozen=True)
class WorkFolder:
    """Items of work, each of which makes one file.

    Attributes:
        path: The folder; made when it is needed.
        stale_after_s: Silence after which another worker counts as dead, seconds. A dead
            worker of this host is known at once.
    """

    path: Path
    stale_after_s: float = 60.0

    def do_all(self, names: Sequence[str], do: Callable[[str, Path], None]) -> None:
        """Make every file ``path/name`` that is not there, and return when all are there.

        ``do(name, temporary)`` writes the file ``temporary``, which then takes its name in one
        step, so a file of that name is always whole. It runs under the lease
        ``path/name.lease``: an item that another living process works at is left to it and
        the others are done meanwhile; the item of a dead one is done again, its half file
        removed. Workers start at different places of ``names``.

        Args:
            names: File names, below ``path``, without repetition.
            do: Makes one file. Should give the same file whoever runs it: a worker that stood
                still for ``stale_after_s`` may finish what another has done meanwhile.

        Raises:
            OutputError: If the folder cannot be written, or the disk is full.
            Exception: What ``do`` raises, once the item is free for others again; of the
                item nothing is left.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     work = WorkFolder(Path(folder))
            ...     work.do_all(["a", "b"], lambda name, path: path.write_text(name) and None)
            ...     sorted(path.name for path in work.path.iterdir())
            ['a', 'b']
        """
        start = os.getpid() % max(len(names), 1)
        left = [*names[start:], *names[:start]]
        watcher = Watcher(self.stale_after_s)
        while left:
            others = [name for name in left if not self._do(name, do, watcher)]
            if len(others) == len(left):
                time.sleep(watcher.poll_s)
            left = others

    def _do(self, name: str, do: Callable[[str, Path], None], watcher: Watcher) -> bool:
        """Make one file if nobody else does; True if it is there now."""
        final = self.path / name
        if final.exists():
            return True
        make_folder(final.parent)
        lease = watcher.try_take(final.with_name(f"{final.name}.lease"))
        if lease is None:
            return False
        try:
            return final.exists() or _make(final, name, do, lease)
        finally:
            lease.release()


def _make(final: Path, name: str, do: Callable[[str, Path], None], lease: Lease) -> bool:
    _remove_left_over(final)
    temporary = final.with_name(f".{secrets.token_hex(6)}.{final.name}")
    try:
        do(name, temporary)
        if not temporary.exists() and not lease.is_ours():
            return False  # We stood still, and who took over cleared our file away.
        with atomic_path(final) as place:
            temporary.replace(place)
    except OSError as error:
        if is_disk_full(error):
            refuse_output(final, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _remove_left_over(final: Path) -> None:
    """Remove half files of this item: who holds its lease is the only one to write any."""
    pattern = re.compile(r"\.[0-9a-f]{12}\." + re.escape(final.name))
    for path in final.parent.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)
