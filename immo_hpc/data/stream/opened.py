"""Shards kept open, and reading from them where it is told what was read for."""

from __future__ import annotations

import errno
import mmap
import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
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
        largest: Bytes of the largest buffer to fill.
    """

    def __init__(self, *, past_cache: bool, largest: int) -> None:
        self.past_cache = past_cache
        self._descriptors: OrderedDict[Path, int] = OrderedDict()
        self._aligned = mmap.mmap(-1, largest + 2 * _BLOCK) if past_cache else None

    def close(self) -> None:
        """Close them; reading opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def expect(self, group: RowGroup) -> None:
        """Tell the system that ``group`` is read soon, so that the disk can start."""
        if self.past_cache:
            return
        sizes = [chunk.size for chunk in group.chunks.values()]
        start = min(chunk.offset for chunk in group.chunks.values())
        # What is wrong with the file is told when it is read.
        with suppress(OSError):
            os.posix_fadvise(self._open(group.path), start, sum(sizes), os.POSIX_FADV_WILLNEED)

    def fill(self, group: RowGroup, layer: str, buffer: NDArray[np.uint8], offset: int) -> None:
        """Fill ``buffer`` with what lies at ``offset`` of the group's shard.

        Raises:
            ShardError: If it cannot be read, or the shard ends before; the message names shard,
                row group and column.
        """
        try:
            if self.past_cache:
                left = self._fill_past_cache(group.path, buffer, offset)
            else:
                left = self._fill(group.path, buffer, offset)
        except OSError as error:
            raise ShardError(damaged(group, layer, str(error))) from error
        if left:
            raise ShardError(damaged(group, layer, f"the file ends {left} bytes early"))

    def fill_all(
        self, group: RowGroup, layer: str, parts: Sequence[memoryview], size: int, offset: int
    ) -> None:
        """Fill parts of ``size`` bytes each with what lies one after the other in the shard.

        Raises:
            ShardError: As `fill`.
        """
        filled = 0
        if not self.past_cache:
            try:
                filled = os.preadv(self._open(group.path), parts, offset) // size
            except OSError as error:
                raise ShardError(damaged(group, layer, str(error))) from error
        for number, part in enumerate(parts[filled:], filled):
            rest = np.frombuffer(part, dtype=np.uint8)
            self.fill(group, layer, rest, offset + number * size)

    def _fill(self, path: Path, buffer: NDArray[np.uint8], offset: int) -> int:
        """Bytes that were not there."""
        filled = 0
        while filled < len(buffer):
            size = os.preadv(self._open(path), [buffer[filled:].data], offset + filled)
            if not size:
                break
            filled += size
        return len(buffer) - filled

    def _fill_past_cache(self, path: Path, buffer: NDArray[np.uint8], offset: int) -> int:
        """As `_fill`, by whole blocks into aligned memory first."""
        assert self._aligned is not None
        low = offset // _BLOCK * _BLOCK
        needed = offset - low + len(buffer)
        memory = memoryview(self._aligned)[: -(-needed // _BLOCK) * _BLOCK]
        filled = 0
        while filled < needed:
            try:
                size = os.preadv(self._open(path), [memory[filled:]], low + filled)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._give_up_direct()
                return self._fill(path, buffer, offset)
            filled += size
            # Less than whole blocks are read only where the file ends.
            if size == 0 or size % _BLOCK:
                break
        found = np.frombuffer(
            memory, np.uint8, max(0, min(filled, needed) - (offset - low)), offset - low
        )
        buffer[: len(found)] = found
        return len(buffer) - len(found)

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
