"""Shards kept open, and reading from them where it is told what was read for."""

from __future__ import annotations

import errno
import mmap
import os
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.stream.decoded import damaged
from immo_hpc.data.stream.index import RowGroup
from immo_hpc.errors import ShardError

_MOST_OPEN = 16
# What reading past the page cache is aligned to: a multiple of every disk's blocks.
_BLOCK = 4096


class OpenShards:
    """The shards that were read last, open. Not for two threads at once.

    Args:
        past_cache: Read past the page cache, where the file system can.
        largest: The most bytes that are read at once.
    """

    def __init__(self, *, past_cache: bool, largest: int) -> None:
        self.past_cache = past_cache
        self._descriptors: OrderedDict[Path, int] = OrderedDict()
        self._largest = largest

    @cached_property
    def _memory(self) -> mmap.mmap:
        """What is read into; whoever maps the shards needs none."""
        return mmap.mmap(-1, self._largest + 2 * _BLOCK)

    def close(self) -> None:
        """Close them; reading opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def read(self, group: RowGroup, layer: str, offset: int, size: int) -> NDArray[np.uint8]:
        """The bytes at ``offset`` of the group's shard, valid until the next call.

        Raises:
            ShardError: If they cannot be read, or the shard ends before; the message names shard,
                row group and column.
        """
        # Not where an error is blamed on the shard: there may be no memory for it.
        memory = memoryview(self._memory)
        try:
            found = self._read(group.path, offset, size, memory)
        except OSError as error:
            raise ShardError(damaged(group, layer, str(error))) from error
        if left := size - len(found):
            raise ShardError(damaged(group, layer, f"the file ends {left} bytes early"))
        return found

    def _read(self, path: Path, offset: int, size: int, memory: memoryview) -> NDArray[np.uint8]:
        """As many of the bytes as are there, in memory for all of them and two blocks."""
        # Past the page cache whole blocks are read, to where blocks may begin.
        block = _BLOCK if self.past_cache else 1
        low = offset // block * block
        needed = offset - low + size
        room = memory[: -(-needed // block) * block]
        filled = 0
        while filled < needed:
            try:
                got = os.preadv(self._open(path), [room[filled:]], low + filled)
            except OSError as error:
                if error.errno != errno.EINVAL or not self.past_cache:
                    raise
                self._give_up_direct()
                return self._read(path, offset, size, memory)
            filled += got
            # Less than whole blocks are read only where the file ends.
            if got == 0 or got % block:
                break
        before = offset - low
        return np.frombuffer(room, np.uint8, max(0, min(filled, needed) - before), before)

    def _open(self, path: Path) -> int:
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            if len(self._descriptors) >= _MOST_OPEN:
                os.close(self._descriptors.popitem(last=False)[1])
            descriptor = self._opened(path)
            self._descriptors[path] = descriptor
        self._descriptors.move_to_end(path)
        return descriptor

    def _opened(self, path: Path) -> int:
        if self.past_cache:
            try:
                return os.open(path, os.O_RDONLY | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._give_up_direct()
        return os.open(path, os.O_RDONLY)

    def _give_up_direct(self) -> None:
        """Not every file system can be read past the cache."""
        self.close()
        self.past_cache = False
