"""Values of row groups, read without decoding to where they are wanted.

Long rows are copied once: the kernel puts each where it belongs. Short rows go through a
scratch buffer that stays in the processor's cache, since a place to tell the kernel costs
more than copying them again. So does what is read for the first time in a process, since
the checksum of its page is verified then, and what is read past the page cache.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from isal import isal_zlib
from numpy.typing import NDArray

from immo_hpc.data.stream.decoded import damaged, decoded_rows
from immo_hpc.data.stream.index import RowGroup, ShardIndex
from immo_hpc.data.stream.opened import OpenShards
from immo_hpc.data.stream.page import read_page_header
from immo_hpc.errors import ShardError

_ALIGN = 64
# Rows that are not wanted are read along if they are shorter than this: a new read costs more.
_GAP_BYTES = 64 * 2**10
# Rows of at least this go straight to their places, by at most so many places a call.
_DIRECT_BYTES = 16 * 2**10
_MOST_PLACES = 1024


class GroupReader:
    """Reads the values of one layer in one row group at a time.

    Not for two threads at once: each has a twin of its own. Close it, or use it as a context
    manager.

    Args:
        index: The opened shards.
        past_cache: Read past the system's page cache, where the file system can.
    """

    def __init__(self, index: ShardIndex, *, past_cache: bool = False) -> None:
        self._index = index
        self._features = {name: len(layer.features) for name, layer in index.layers.items()}
        self._dtype = np.dtype(index.manifest.dtype)
        # Chunks whose checksum was right, and whether they can be read without decoding.
        self._sound: dict[tuple[Path, int, str], bool] = {}
        largest = max(
            (chunk.size for group in index.groups for chunk in group.chunks.values()), default=0
        )
        self._scratch = np.empty(largest + _ALIGN, dtype=np.uint8)
        self._shards = OpenShards(past_cache=past_cache, largest=largest)
        width = max(self._features.values())
        self._wide = torch.empty(0, dtype=torch.float32)
        if self._dtype == np.float16:
            most = max(max(group.num_rows.values()) for group in index.groups)
            self._wide = torch.empty(most * width, dtype=torch.float32)

    @property
    def past_cache(self) -> bool:
        """Whether it reads past the page cache, as far as is known."""
        return self._shards.past_cache

    def twin(self) -> GroupReader:
        """A reader for another thread; what one has verified the other need not."""
        twin = GroupReader(self._index, past_cache=self.past_cache)
        twin._sound = self._sound
        return twin

    def __enter__(self) -> GroupReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; reading opens them again."""
        self._shards.close()

    def expect(self, group: RowGroup) -> None:
        """Tell the system that ``group`` is read soon, so that the disk can start."""
        self._shards.expect(group)

    def read_into(
        self,
        group: RowGroup,
        layer: str,
        rows: NDArray[np.int64],
        out: NDArray[np.float32],
        places: NDArray[np.int64],
    ) -> None:
        """Read rows as `read` does, each to its place.

        Args:
            group: The row group.
            layer: Name of the layer.
            rows: Places among the group's measured rows of the layer, ``(row,)``, increasing.
            out: Where to, ``(place, feature)``, C-contiguous.
            places: Place of each row in ``out``, ``(row,)``.

        Raises:
            ShardError: As `read`.
        """
        row_bytes = 4 * self._features[layer]
        is_plain = self._sound.get((group.path, group.number, layer), False)
        is_direct = self._dtype == np.float32 and row_bytes >= _DIRECT_BYTES
        if is_plain and is_direct and not self.past_cache:
            self._scatter(group, layer, rows, out, places)
            return
        values = np.ascontiguousarray(self.read(group, layer, rows))
        # Whole rows as single items: copied by memmove rather than value by value.
        item = f"V{row_bytes}"
        out.view(item)[places, 0] = values.view(item)[:, 0]

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
        return self._single(decoded_rows(group, layer, self._shape(group, layer))[rows])

    def _read_whole(self, group: RowGroup, layer: str) -> NDArray[Any] | None:
        """The measured rows, after the checksum was verified; None for more than one page."""
        chunk, shape = group.chunks[layer], self._shape(group, layer)
        value_bytes = shape[0] * shape[1] * self._dtype.itemsize
        before = chunk.size - value_bytes
        # So that the values begin at a multiple of _ALIGN.
        start = -before % _ALIGN
        content = self._scratch[start : start + chunk.size]
        self._shards.fill(group, layer, content, chunk.offset)
        header = read_page_header(content[:64].tobytes())
        if header is None or header.size > chunk.size:
            raise ShardError(damaged(group, layer, "its page has no readable header"))
        if header.num_plain != chunk.num_values:
            return None
        if header.crc is not None:
            found = isal_zlib.crc32(content[chunk.size - header.size :].data)
            if found != header.crc:
                what = f"expected CRC-32 {header.crc:08x}, found {found:08x}"
                raise ShardError(damaged(group, layer, what))
        return content[before:].view(self._dtype).reshape(shape)

    def _read_rows(self, group: RowGroup, layer: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The rows by as many reads as there are large gaps between them."""
        begin, row_bytes = self._rows_begin(group, layer)
        width = self._features[layer]
        bounds = _runs(rows, row_bytes)
        place = np.empty(len(rows), dtype=np.int64)
        filled = 0
        for low, high in pairwise(bounds):
            first, last = int(rows[low]), int(rows[high - 1])
            size = last + 1 - first
            part = self._scratch[filled * row_bytes : (filled + size) * row_bytes]
            self._shards.fill(group, layer, part, begin + first * row_bytes)
            place[low:high] = rows[low:high] - first + filled
            filled += size
        values = self._scratch[: filled * row_bytes].view(self._dtype).reshape(filled, width)
        return values if filled == len(rows) else values[place]

    def _scatter(
        self,
        group: RowGroup,
        layer: str,
        rows: NDArray[np.int64],
        out: NDArray[np.float32],
        places: NDArray[np.int64],
    ) -> None:
        begin, row_bytes = self._rows_begin(group, layer)
        unwanted, target = self._scratch[:row_bytes].data, out.data.cast("B")
        for low, high in pairwise(_runs(rows, row_bytes)):
            first = int(rows[low])
            parts = [unwanted] * (int(rows[high - 1]) + 1 - first)
            starts = (places[low:high] * row_bytes).tolist()
            # Slices of bytes: rows of an array as buffers take twice as long to make.
            for row, start in zip((rows[low:high] - first).tolist(), starts, strict=True):
                parts[row] = target[start : start + row_bytes]
            for start in range(0, len(parts), _MOST_PLACES):
                some = parts[start : start + _MOST_PLACES]
                self._shards.fill_all(
                    group, layer, some, row_bytes, begin + (first + start) * row_bytes
                )

    def _single(self, values: NDArray[Any]) -> NDArray[np.float32]:
        if values.dtype == np.float32:
            return values
        # torch converts ten times as fast as NumPy.
        wide = self._wide[: values.size].view(values.shape)
        converted: NDArray[np.float32] = wide.copy_(torch.from_numpy(values)).numpy()
        return converted

    def _shape(self, group: RowGroup, layer: str) -> tuple[int, int]:
        return group.num_rows[layer], self._features[layer]

    def _rows_begin(self, group: RowGroup, layer: str) -> tuple[int, int]:
        """Offset of the first measured row in the file, and the bytes of a row."""
        chunk, (num_rows, width) = group.chunks[layer], self._shape(group, layer)
        row_bytes = width * self._dtype.itemsize
        return chunk.offset + chunk.size - num_rows * row_bytes, row_bytes


def _runs(rows: NDArray[np.int64], row_bytes: int) -> list[int]:
    """Where a new read begins among ``rows``, and their number: gaps too large to read along."""
    cuts = np.flatnonzero((np.diff(rows) - 1) * row_bytes >= _GAP_BYTES) + 1
    return [0, *cuts.tolist(), len(rows)]
