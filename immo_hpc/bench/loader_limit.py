"""The memory limit that holds for the processes of `immo bench loader`, in words.

The bench makes no control group itself: a process may not be put into a group beside others
without rights that the user rarely has, and an administrator's tool does it in one line.
"""

from __future__ import annotations


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
