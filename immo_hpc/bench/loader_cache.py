"""The files of a copy, what of them lies in the page cache, and putting it there or away."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import numpy as np

READ_BYTES = 2**20


def drop(paths: Iterable[Path]) -> None:
    """Ask the system to forget what it keeps of the files; they must be on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_through(paths: Iterable[Path], buffer_bytes: int = READ_BYTES) -> int:
    """Read the files from end to end, 1 MiB at a time; gives the bytes.

    Args:
        paths: The files.
        buffer_bytes: Size of the buffer, filled from its start to its end again and again; that
            of one read or a multiple of it.
    """
    # From the start of a page: 16 bytes after it, where the memory of a `bytearray` begins, AMD
    # processors copy at half the rate.
    buffer = memoryview(mmap.mmap(-1, buffer_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    parts = cycle([buffer[at : at + READ_BYTES] for at in range(0, buffer_bytes, READ_BYTES)])
    total = 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while size := file.readinto(next(parts)):
                total += size
    return total


def resident_share(paths: Iterable[Path]) -> float:
    """Share of the files' pages that are in the page cache, 0 to 1.

    Raises:
        OSError: If the system does not tell.
    """
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    pages = held = 0
    for path in paths:
        size = path.stat().st_size
        if not size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            view = np.frombuffer(mapping, dtype=np.uint8)
            state = np.zeros(-(-size // mmap.PAGESIZE), dtype=np.uint8)
            failed = mincore(view.ctypes.data, size, state.ctypes.data)
            # The mapping cannot be closed while it is looked at.
            del view
            if failed:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        pages += len(state)
        held += int((state & 1).sum())
    return held / pages if pages else 0.0


def copy_files(folder: Path, kind: str) -> list[Path]:
    """The files of a copy that hold values, in order."""
    pattern = {"shards": "*.parquet", "parquet": "*/*.parquet"}.get(kind, f"*.{kind}")
    return sorted((folder / kind).glob(pattern))
