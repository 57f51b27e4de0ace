"""Who holds a lease: the text of a lease file, and whether that process still lives here."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """One process holding one lease.

    Attributes:
        host: Name of its host.
        place: Where its ``pid`` counts: boot of the kernel and process namespace, since
            containers on one or many hosts may share host names and process numbers. Empty
            where the system does not tell.
        pid: Its process number.
        started: Start of that process in ticks since boot, which a later process of the
            same number does not share.
        since: When it took the lease, by its own clock; only to be read by people.
        stale_after_s: Silence after which it expects to be taken for dead, seconds.
        token: Unique to this holding.
    """

    host: str
    place: str
    pid: int
    started: str
    since: str
    stale_after_s: float
    token: str


def new_owner(stale_after_s: float) -> Owner:
    """This process as the owner of a lease it is about to take."""
    pid = os.getpid()
    return Owner(
        host=socket.gethostname(),
        place=_place(),
        pid=pid,
        started=_started(pid) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        stale_after_s=stale_after_s,
        token=secrets.token_hex(8),
    )


def to_text(owner: Owner, num_beats: int = 0) -> bytes:
    """Text of a lease file, as long at every beat: a full disk stops no sign of life."""
    return json.dumps(asdict(owner)).encode() + b"\n%020d\n" % num_beats


def from_text(text: bytes) -> Owner | None:
    """Owner a lease file names; None if it is not, or not yet, such a file."""
    try:
        return Owner(**json.loads(text.split(b"\n", 1)[0]))
    except (ValueError, TypeError):
        return None


def token_of(path: Path, text: bytes) -> str:
    """What tells this holding from every other: the owner's token, else a digest."""
    owner = from_text(text)
    if owner is not None:
        return owner.token
    return hashlib.blake2b(path.name.encode() + b"\0" + text, digest_size=8).hexdigest()


def lives_here(owner: Owner) -> bool | None:
    """Whether the owner lives, as far as this host can tell; None: it cannot."""
    if not owner.place or owner.place != _place() or owner.host != socket.gethostname():
        return None
    return _started(owner.pid) == owner.started


def describe(text: bytes | None) -> str:
    """The holder in words, for messages."""
    owner = None if text is None else from_text(text)
    if owner is None:
        return "a process of unknown name"
    return f"process {owner.pid} on {owner.host}, since {owner.since},"


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Start time of a living process, in ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # The name before may hold blanks and brackets.
    is_dead = fields[0] in {"Z", "X", "x"}  # Killed, but not yet collected by its parent.
    return None if is_dead else fields[19]
