"""Counts and sizes in words."""

from __future__ import annotations


def counted(number: int, what: str) -> str:
    """A number with its noun, which takes an "s" unless there is one of it.

    Example:
        >>> counted(1, "shard"), counted(3, "row group")
        ('1 shard', '3 row groups')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def size_text(num_bytes: float) -> str:
    """A size in binary units.

    Example:
        >>> size_text(900), size_text(3 * 2**20)
        ('900 B', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"
