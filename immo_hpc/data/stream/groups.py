"""Values of row groups, read straight into memory that is used again and again.

A value is touched twice on its way into a batch: the kernel copies it into a scratch buffer
that stays in the processor's cache, and from there it goes to its place. Nothing is decoded.
The first time a process reads a column chunk, the checksum of its page is verified too.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from immo_hpc.data.shards import schema
from immo_hpc.data.shards.check import REMEDY, UNREADABLE
from immo_hpc.data.stream.index import RowGroup, ShardIndex
from immo_hpc.data.stream.page import read_page_header
from immo_hpc.errors import ShardError

_OPEN_FILES = 16
_ALIGN = 64
# Rows that are not wanted are read along if they are shorter than this: a new read costs more.
_GAP_BYTES = 64 * 2**10


class GroupReader:
    """Reads the values of one layer in one row group at a time.

    Not for two threads at once. Close it, or use it as a context manager.

    Args:
        index: The opened shards.
    """

    def __init__(self, index: ShardIndex) -> None:
        self._features = {name: len(layer.features) for name, layer in index.layers.items()}
        self._dtype = np.dtype(index.manifest.dtype)
        self._descriptors: OrderedDict[Path, int] = OrderedDict()
        # Chunks whose checksum was right, and whether they can be read without decoding.
        self._sound: dict[tuple[Path, int, str], bool] = {}
        largest = max(
            (chunk.size for group in index.groups for chunk in group.chunks.values()), default=0
        )
        self._scratch = np.empty(largest + _ALIGN, dtype=np.uint8)
        width = max(self._features.values())
        self._wide = torch.empty(0, dtype=torch.float32)
        if self._dtype == np.float16:
            most = max(max(group.num_rows.values()) for group in index.groups)
            self._wide = torch.empty(most * width, dtype=torch.float32)

    def __enter__(self) -> GroupReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; reading opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def expect(self, group: RowGroup) -> None:
        """Tell the system that ``group`` is read soon, so that the disk can start."""
        sizes = [chunk.size for chunk in group.chunks.values()]
        start = min(chunk.offset for chunk in group.chunks.values())
        # What is wrong with the file is told when it is read.
        with suppress(OSError):
            os.posix_fadvise(self._open(group.path), start, sum(sizes), os.POSIX_FADV_WILLNEED)

    def read(self, group: RowGroup, layer: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some measured rows of a layer in a row group.

        Args:
            group: The row group.
            layer: Name of the layer.
            rows: Places among the group's measured rows of the layer, ``(row,)``, increasing.

        Returns:
            Values, ``(row, feature)``, float32, valid until the next call.

        Raises:
            ShardError: If they cannot be read or are not what was written; the message names
                shard, row group and column.
        """
        key = (group.path, group.number, layer)
        is_plain = self._sound.get(key)
        if is_plain is None and group.chunks[layer].is_plain:
            values = self._read_whole(group, layer)
            self._sound[key] = values is not None
            if values is not None:
                return self._single(values if len(rows) == len(values) else values[rows])
        if is_plain:
            return self._single(self._read_rows(group, layer, rows))
        self._sound[key] = False
        return self._single(self._decoded(group, layer)[rows])

    def _read_whole(self, group: RowGroup, layer: str) -> NDArray[Any] | None:
        """The measured rows, after the checksum was verified; None for more than one page."""
        chunk, shape = group.chunks[layer], self._shape(group, layer)
        value_bytes = shape[0] * shape[1] * self._dtype.itemsize
        before = chunk.size - value_bytes
        # So that the values begin at a multiple of _ALIGN.
        start = -before % _ALIGN
        content = self._scratch[start : start + chunk.size]
        self._fill(group, layer, content, chunk.offset)
        header = read_page_header(content[:64].tobytes())
        if header is None or header.size > chunk.size:
            raise ShardError(_damaged(group, layer, "its page has no readable header"))
        if header.num_plain != chunk.num_values:
            return None
        if header.crc is not None:
            found = zlib.crc32(content[chunk.size - header.size :].data)
            if found != header.crc:
                what = f"expected CRC-32 {header.crc:08x}, found {found:08x}"
                raise ShardError(_damaged(group, layer, what))
        return content[before:].view(self._dtype).reshape(shape)

    def _read_rows(self, group: RowGroup, layer: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The rows by as many reads as there are large gaps between them."""
        chunk, (num_rows, width) = group.chunks[layer], self._shape(group, layer)
        row_bytes = width * self._dtype.itemsize
        begin = chunk.offset + chunk.size - num_rows * row_bytes
        cuts = np.flatnonzero((np.diff(rows) - 1) * row_bytes >= _GAP_BYTES) + 1
        bounds = [0, *cuts.tolist(), len(rows)]
        place = np.empty(len(rows), dtype=np.int64)
        filled = 0
        for low, high in pairwise(bounds):
            first, last = int(rows[low]), int(rows[high - 1])
            size = last + 1 - first
            part = self._scratch[filled * row_bytes : (filled + size) * row_bytes]
            self._fill(group, layer, part, begin + first * row_bytes)
            place[low:high] = rows[low:high] - first + filled
            filled += size
        values = self._scratch[: filled * row_bytes].view(self._dtype).reshape(filled, width)
        return values if filled == len(rows) else values[place]

    def _decoded(self, group: RowGroup, layer: str) -> NDArray[Any]:
        """The measured rows through Arrow, for older shards and other writers."""
        column = schema.values_column(layer)
        try:
            with pq.ParquetFile(group.path, page_checksum_verification=True) as shard:
                table = shard.read_row_group(group.number, columns=[column], use_threads=False)
        except UNREADABLE as error:
            raise ShardError(_damaged(group, layer, str(error))) from error
        found = table.column(0)
        shape = self._shape(group, layer)
        row = schema.ragged_row(found, shape[1])
        measured = len(found) - found.null_count
        if row is not None or measured != shape[0]:
            what = f"expected {shape[0]} rows of {shape[1]} values, found {measured}"
            raise ShardError(_damaged(group, layer, what + ("" if row is None else ", not alike")))
        values: NDArray[Any] = np.concatenate(
            [chunk.flatten().to_numpy() for chunk in found.chunks] or [np.empty(0, self._dtype)]
        )
        return values.reshape(shape)

    def _single(self, values: NDArray[Any]) -> NDArray[np.float32]:
        if values.dtype == np.float32:
            return values
        # torch converts ten times as fast as NumPy.
        wide = self._wide[: values.size].view(values.shape)
        converted: NDArray[np.float32] = wide.copy_(torch.from_numpy(values)).numpy()
        return converted

    def _shape(self, group: RowGroup, layer: str) -> tuple[int, int]:
        return group.num_rows[layer], self._features[layer]

    def _fill(self, group: RowGroup, layer: str, buffer: NDArray[np.uint8], offset: int) -> None:
        filled = 0
        try:
            while filled < len(buffer):
                rest = buffer[filled:].data
                size = os.preadv(self._open(group.path), [rest], offset + filled)
                if not size:
                    what = f"the file ends {len(buffer) - filled} bytes early"
                    raise ShardError(_damaged(group, layer, what))
                filled += size
        except OSError as error:
            raise ShardError(_damaged(group, layer, str(error))) from error

    def _open(self, path: Path) -> int:
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            if len(self._descriptors) >= _OPEN_FILES:
                os.close(self._descriptors.popitem(last=False)[1])
            descriptor = os.open(path, os.O_RDONLY)
            self._descriptors[path] = descriptor
        self._descriptors.move_to_end(path)
        return descriptor


def _damaged(group: RowGroup, layer: str, what: str) -> str:
    return (
        f"{group.path}, row group {group.number}, column '{schema.values_column(layer)}': "
        f"damaged: {what}. {REMEDY}"
    )
