"""The memory limit that holds for the processes of `immo bench loader`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def group_limit(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Memory that the control group (version 2) of this process allows, page cache included.

    The bench makes no group itself: a process may not be put into a group beside others without
    rights that the user rarely has, and an administrator's tool does it in one line.

    Args:
        root: Where control groups are mounted.
        own: The system's list of this process's groups.

    Returns:
        Bytes; None if nothing is limited or there is no such group.
    """
    limits = []
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            number, _, name = line.partition("::")
            if number != "0":
                continue
            folder = root / name.lstrip("/")
            for group in (folder, *folder.parents):
                if group == root.parent:
                    break
                with suppress(OSError, ValueError):
                    limits.append(int((group / "memory.max").read_text(encoding="ascii")))
    return min(limits, default=None)


def described_limit(memory_bytes: int, limit: int | None) -> str:
    """How memory is limited, in words."""
    data = (
        f"RLIMIT_DATA of {memory_bytes / 1e9:g} GB a process: its private memory, resident or "
        "not; files in the page cache or mapped are not in it"
    )
    if limit is None or limit > memory_bytes:
        return (
            data + ". For the page cache too: systemd-run --scope -p MemoryMax=2G immo bench loader"
        )
    return f"control group of {limit / 1e9:g} GB with its page cache, and {data}"
