"""Where the values of row groups lie in memory, without decoding them.

Values that are stored as they are used are not read but mapped: they stay where the system keeps
them, and their addresses are told. Others are read, past the page cache where it could not hold
them, or decoded; they lie in a buffer that the next ones overwrite. The checksum of a page is
verified before its values are used for the first time in a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from immo_hpc.data.stream.decoded import damaged, decoded_rows
from immo_hpc.data.stream.gather import gather_rows
from immo_hpc.data.stream.index import RowGroup, ShardIndex
from immo_hpc.data.stream.mapped import MappedShards, bytes_at
from immo_hpc.data.stream.opened import OpenShards
from immo_hpc.data.stream.page import read_page_header
from immo_hpc.errors import ShardError

_HEADER_BYTES = 64
# Rows that are not wanted are read along if they are shorter than this: a new read costs more.
_GAP_BYTES = 64 * 2**10


class Piece(NamedTuple):
    """Where some of the rows lie that were asked for.

    Attributes:
        low: Place of the first of them among these.
        addresses: Where each begins, ``(row,)``, int64.
        item_bytes: 4 for float32, 2 for float16.
        stays: Whether it is there until the reader is closed; else until the next piece.
    """

    low: int
    addresses: NDArray[np.int64]
    item_bytes: int
    stays: bool

    def copy_to(self, out: NDArray[np.float32]) -> None:
        """Copy the rows to those of ``out``, ``(row, feature)``."""
        gather_rows(self.addresses, np.full(len(out), self.item_bytes, dtype=np.uint8), out)


class GroupReader:
    """Finds the values of one layer in one row group at a time.

    Not for two threads at once: each has a twin of its own. Close it, or use it as a context
    manager.

    Args:
        index: The opened shards.
        past_cache: Read past the system's page cache, where the file system can.
        maps: The shards as other twins have mapped them.
    """

    def __init__(
        self, index: ShardIndex, *, past_cache: bool = False, maps: MappedShards | None = None
    ) -> None:
        self._index = index
        self._features = {name: len(layer.features) for name, layer in index.layers.items()}
        self._dtype = np.dtype(index.manifest.dtype)
        # Chunks whose checksum was right, and whether they can be used without decoding.
        self._sound: dict[tuple[Path, int, str], bool] = {}
        largest = max(
            (chunk.size for group in index.groups for chunk in group.chunks.values()), default=0
        )
        self._shards = OpenShards(past_cache=past_cache, largest=largest)
        self._maps = MappedShards() if maps is None else maps

    @property
    def past_cache(self) -> bool:
        """Whether it reads past the page cache, as far as is known."""
        return self._shards.past_cache

    def twin(self) -> GroupReader:
        """A reader for another thread; what one has verified the other need not."""
        twin = GroupReader(self._index, past_cache=self.past_cache, maps=self._maps)
        twin._sound = self._sound
        return twin

    def __enter__(self) -> GroupReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, those of its twins that are mapped too; using it opens them again."""
        self._shards.close()
        self._maps.close()

    def let_go(self, group: RowGroup) -> None:
        """The values of ``group`` are not wanted any more, by any of the twins."""
        if not self.past_cache:
            start = min(chunk.offset for chunk in group.chunks.values())
            stop = max(chunk.offset + chunk.size for chunk in group.chunks.values())
            self._maps.let_go(group.path, start, stop)

    def read_into(
        self, group: RowGroup, layer: str, rows: NDArray[np.int64], out: NDArray[np.float32]
    ) -> None:
        """Copy some measured rows of a layer in a row group to those of ``out``.

        Args:
            group: The row group.
            layer: Name of the layer.
            rows: Places among the group's measured rows of the layer, ``(row,)``, increasing.
            out: Where to, ``(row, feature)``, C-contiguous.

        Raises:
            ShardError: As `pieces`.
        """
        for piece in self.pieces(group, layer, rows):
            piece.copy_to(out[piece.low : piece.low + len(piece.addresses)])

    def pieces(self, group: RowGroup, layer: str, rows: NDArray[np.int64]) -> Iterator[Piece]:
        """Where some measured rows of a layer in a row group lie.

        Args:
            group: The row group.
            layer: Name of the layer.
            rows: Places among the group's measured rows of the layer, ``(row,)``, increasing.

        Raises:
            ShardError: If they cannot be read or are not what was written; the message names
                shard, row group and column.
        """
        key = (group.path, group.number, layer)
        is_sound = self._sound.get(key)
        may_be_plain = group.chunks[layer].is_plain if is_sound is None else is_sound
        if may_be_plain and not self.past_cache:
            address = self._mapped(group, layer, rows, is_verified=is_sound is not None)
            if address is not None:
                yield Piece(0, address + rows * self._row_bytes(layer), self._dtype.itemsize, True)
                return
            is_sound = self._sound.get(key)
        if is_sound is None and may_be_plain:
            values = self._read_whole(group, layer)
            if values is not None:
                yield _piece(0, values, rows)
                return
            is_sound = False
        if is_sound:
            yield from self._read_rows(group, layer, rows)
            return
        self._sound[key] = False
        decoded = decoded_rows(group, layer, self._shape(group, layer))
        yield _piece(0, decoded, rows)

    def _mapped(
        self, group: RowGroup, layer: str, rows: NDArray[np.int64], *, is_verified: bool
    ) -> int | None:
        """Address of the first measured row, once all that are wanted are there."""
        chunk, row_bytes = group.chunks[layer], self._row_bytes(layer)
        begin = self._begin(group, layer)
        if not is_verified:
            start, stop = chunk.offset, chunk.offset + chunk.size
            address = self._maps.bring_in(group.path, start, stop)
            if address is None:
                return None
            is_plain = self._verify(group, layer, bytes_at(address, stop - start))
            return address + begin - chunk.offset if is_plain else None
        address = None
        for low, high in pairwise(_runs(rows, row_bytes)):
            first, last = int(rows[low]), int(rows[high - 1])
            start, stop = begin + first * row_bytes, begin + (last + 1) * row_bytes
            found = self._maps.bring_in(group.path, start, stop)
            if found is None:
                return None
            address = found - first * row_bytes
        return address

    def _verify(self, group: RowGroup, layer: str, content: memoryview) -> bool:
        """Whether a whole chunk holds one page of plain values, after its checksum was verified."""
        header = read_page_header(bytes(content[:_HEADER_BYTES]))
        if header is None or header.size > len(content):
            raise ShardError(damaged(group, layer, "its page has no readable header"))
        is_plain = header.num_plain == group.chunks[layer].num_values
        # The decoder verifies the others.
        if is_plain and header.crc is not None:
            found = isal_zlib.crc32(content[len(content) - header.size :])
            if found != header.crc:
                what = f"expected CRC-32 {header.crc:08x}, found {found:08x}"
                raise ShardError(damaged(group, layer, what))
        self._sound[group.path, group.number, layer] = is_plain
        return is_plain

    def _read_whole(self, group: RowGroup, layer: str) -> NDArray[Any] | None:
        """The measured rows, after the checksum was verified; None for more than one page."""
        chunk = group.chunks[layer]
        content = self._shards.read(group, layer, chunk.offset, chunk.size)
        if not self._verify(group, layer, content.data):
            return None
        values = content[self._begin(group, layer) - chunk.offset :]
        return values.view(self._dtype).reshape(self._shape(group, layer))

    def _read_rows(self, group: RowGroup, layer: str, rows: NDArray[np.int64]) -> Iterator[Piece]:
        """The rows by as many reads as there are large gaps between them."""
        begin, row_bytes = self._begin(group, layer), self._row_bytes(layer)
        for low, high in pairwise(_runs(rows, row_bytes)):
            first, last = int(rows[low]), int(rows[high - 1])
            size = (last + 1 - first) * row_bytes
            content = self._shards.read(group, layer, begin + first * row_bytes, size)
            values = content.view(self._dtype).reshape(-1, self._features[layer])
            yield _piece(low, values, rows[low:high] - first)

    def _shape(self, group: RowGroup, layer: str) -> tuple[int, int]:
        return group.num_rows[layer], self._features[layer]

    def _row_bytes(self, layer: str) -> int:
        return self._features[layer] * self._dtype.itemsize

    def _begin(self, group: RowGroup, layer: str) -> int:
        """Offset of the first measured row in the file."""
        chunk = group.chunks[layer]
        return chunk.offset + chunk.size - group.num_rows[layer] * self._row_bytes(layer)


def _piece(low: int, values: NDArray[Any], rows: NDArray[np.int64]) -> Piece:
    """Some rows of a matrix that is C-contiguous."""
    addresses = values.ctypes.data + rows * (values.shape[1] * values.dtype.itemsize)
    return Piece(low, addresses, values.dtype.itemsize, stays=False)


def _runs(rows: NDArray[np.int64], row_bytes: int) -> list[int]:
    """Where a new read begins among ``rows``, and their number: gaps too large to read along."""
    cuts = np.flatnonzero((np.diff(rows) - 1) * row_bytes >= _GAP_BYTES) + 1
    return [0, *cuts.tolist(), len(rows)]
