"""Whether shards are read through the system's page cache, or past it.

Where the files are much larger than the memory that may hold them, a page that was read is gone
before it is wanted again, and finding room for the next one costs more processor time than
reading it (docs/notes/loader-speed.md).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# Files this many times as large as the memory are read past the cache; of smaller ones enough
# is still there in the next epoch.
_TIMES = 2
# What version 1 of control groups says where nothing is limited, in pages of any size.
_UNLIMITED = 1 << 62


def goes_past_cache(file_bytes: int, memory_bytes: int | None = None) -> bool:
    """Whether files are better read past the page cache.

    Args:
        file_bytes: Bytes that an epoch reads.
        memory_bytes: Memory that there is for everything; None: as this process finds it.
    """
    if not hasattr(os, "O_DIRECT"):
        return False
    found = available_bytes() if memory_bytes is None else memory_bytes
    return file_bytes > _TIMES * found


def available_bytes() -> int:
    """Memory of this machine, or what the control groups of this process allow of it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = group_limit()
    return machine if limit is None else min(machine, limit)


def group_limit(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Memory that the control groups of this process allow, page cache included.

    Args:
        root: Where control groups are mounted, of version 2, of version 1 or of both.
        own: The system's list of this process's groups.

    Returns:
        Bytes; None if nothing is limited or there is no such group.
    """
    limits = []
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            number, controllers, name = line.split(":", 2)
            if number == "0":
                top, file = root, "memory.max"
            elif "memory" in controllers.split(","):
                top, file = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            folder = top / name.lstrip("/")
            for group in (folder, *folder.parents):
                if group == top.parent:
                    break
                with suppress(OSError, ValueError):
                    limits.append(int((group / file).read_text(encoding="ascii")))
    found = min(limits, default=_UNLIMITED)
    return None if found >= _UNLIMITED else found
