"""One holder at a time of a file's name, among processes of one or many hosts.

A lease is a small file that says who holds it (host, process) and a count that the holder
raises as a sign of life. What is assumed of the file system, local or on a network: of several
processes that make a hard link of one name exactly one succeeds, a rename replaces a name in
one step, and a file that is opened shows what was last written and flushed by another host
(close-to-open consistency, as NFS has it). Locks of the operating system are not used. Where
hard links are refused, files are made with ``O_EXCL`` instead: just as exclusive, but
a process killed between making and filling one leaves an empty lease, which nobody can tell
from one that is being filled before ``stale_after_s`` have passed.

A process that stands still for longer than ``stale_after_s`` (stopped, swapped out) loses
its lease and cannot know it while it stands still. What is done under a lease must therefore do
no harm when it is done twice (write beside, rename into place), or ask `Lease.is_ours` last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from immo_hpc.errors import BusyError
from immo_hpc.lease.owner import describe
from immo_hpc.lease.take import Lease, Watcher

__all__ = ["Lease", "Watcher", "hold"]


@contextmanager
def hold(path: Path, *, wait_s: float = 0.0, stale_after_s: float = 60.0) -> Iterator[Lease]:
    """Hold ``path`` while the body runs; nobody else who asks this way holds it meanwhile.

    A holder that is dead is replaced: at once if it was a process of this host, else when
    it gave no sign of life for ``stale_after_s`` by this process's own clock. Whether a holder
    on another host lives shows only with its next sign of life, so a refusal may take a
    quarter of ``stale_after_s``, whatever ``wait_s`` is.

    Args:
        path: File that stands for the lease, such as ``work/table.lease``. Its folder exists.
        wait_s: How long to wait for a living holder, seconds.
        stale_after_s: Silence after which a holder counts as dead, seconds; of this and of
            what the holder itself named, the longer one. Signs of life are given four times
            as often.

    Yields:
        The lease; `Lease.is_ours` tells whether it is still held.

    Raises:
        BusyError: If a living process holds it for longer than ``wait_s``.
        OutputError: If the folder is absent or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, hold(Path(folder, "a.lease")) as lease:
        ...     lease.is_ours()
        True
    """
    watcher = Watcher(stale_after_s)
    began = time.monotonic()
    while (lease := watcher.try_take(path)) is None:
        if time.monotonic() - began >= wait_s and watcher.is_alive(path):
            message = (
                f"{path}: {describe(watcher.last_seen(path))} is at work there. Wait until it "
                "has finished, or stop it; if you know that it is gone, remove this file."
            )
            raise BusyError(message)
        time.sleep(watcher.poll_s)
    try:
        yield lease
    finally:
        lease.release()
