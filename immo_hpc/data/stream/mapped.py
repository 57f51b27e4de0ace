"""Shards mapped into memory: their values lie in the system's page cache and are not copied.

What is wanted is brought in before it is looked at (``MADV_POPULATE_READ``, Linux 5.14), so that a
disk that fails is an answer of the system rather than a signal that ends the process. Whatever
cannot be mapped, for whatever reason, is left to be read, and reading tells what is wrong.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
from pathlib import Path
from typing import NamedTuple

# Of Linux; Python has no name for it.
_POPULATE_READ = 22
_PAGE = mmap.PAGESIZE
# The system's own calls: Python's mapping keeps a descriptor open for each file, of which a process
# may have a thousand, and holds the interpreter's lock while it advises.
_LIBC = ctypes.CDLL(None)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_ssize_t,
)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value


class _Mapping(NamedTuple):
    address: int
    size: int


class MappedShards:
    """Files mapped whole, of which only what was brought in takes memory. For any thread.

    They stay mapped until `close`, also where nobody knows of them any more: a thread may still
    copy from them when the interpreter ends.
    """

    def __init__(self) -> None:
        self._maps: dict[Path, _Mapping | None] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of all files; bringing in maps them again."""
        with self._lock:
            for mapping in self._maps.values():
                if mapping is not None:
                    _LIBC.munmap(*mapping)
            self._maps.clear()

    def bring_in(self, path: Path, start: int, stop: int) -> int | None:
        """Where a part of a file lies, once all of it is there.

        Args:
            path: The file.
            start: Its first byte.
            stop: The byte after its last one.

        Returns:
            Address of its first byte, good until `close`; None if it has to be read instead.
        """
        mapping = self._mapped(path)
        if mapping is None or stop > mapping.size:
            return None
        failed = _advise(mapping, start, stop, _POPULATE_READ)
        return None if failed else mapping.address + start

    def let_go(self, path: Path, start: int, stop: int) -> None:
        """A part is not wanted any more: it stays in the page cache, but not with this process."""
        with self._lock:
            mapping = self._maps.get(path)
        if mapping is not None:
            _advise(mapping, start, min(stop, mapping.size), mmap.MADV_DONTNEED)

    def _mapped(self, path: Path) -> _Mapping | None:
        with self._lock:
            if path not in self._maps:
                self._maps[path] = _map(path) if sys.platform == "linux" else None
            return self._maps[path]


def bytes_at(address: int, size: int) -> memoryview:
    """What lies at an address, which must stay until the view is not used any more."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


def _map(path: Path) -> _Mapping | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        size = os.fstat(descriptor).st_size
        address = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == _FAILED:
        # A file system without it, a limit of addresses, an empty file.
        return None
    mapping = _Mapping(address, size)
    # Read in pieces of 2 MB, kept and mapped as such where the file system can: a tenth of the
    # system's time for pages of 4 KB.
    _advise(mapping, 0, size, mmap.MADV_HUGEPAGE)
    return mapping


def _advise(mapping: _Mapping, start: int, stop: int, advice: int) -> int:
    """Zero if the system took the advice about all pages that hold a part."""
    low = start // _PAGE * _PAGE
    if stop <= low:
        return 0
    return int(_LIBC.madvise(mapping.address + low, stop - low, advice))
