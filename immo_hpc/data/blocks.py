"""Walking matrices block by block, so that one larger than memory never has to be in memory.

A matrix on disk is a read-only, C-contiguous ``np.memmap``, or the transpose of one: a table that
was turned round. It is read with ``pread`` into small buffers instead of through its mapping:
pages of a mapping count as resident memory of the process, pages of the file cache do not.
Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64 << 20
_ITEM = np.dtype(np.float32).itemsize


def row_blocks(
    values: NDArray[np.float32],
    rows: NDArray[np.int64] | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The rows of a matrix in blocks of bounded size, in order.

    Args:
        values: ``(row, feature)``, float32; an array or a matrix on disk.
        rows: Rows to give, in their order, ``(chosen row,)``; all if not given.
        block_bytes: Most bytes of a block; a block has one row at least.

    Yields:
        Places of the rows in ``values``, ``(block row,)``, int64, and their values,
        ``(block row, feature)``. The values of an array may be a view of it: they are to be
        read, not written.

    Example:
        >>> halves = row_blocks(np.eye(4, dtype=np.float32), block_bytes=32)
        >>> [(places.tolist(), block.shape) for places, block in halves]
        [([0, 1], (2, 4)), ([2, 3], (2, 4))]
    """
    count = len(values) if rows is None else len(rows)
    step = rows_in(values.shape[1], block_bytes)
    with _reader(values) as read:
        for start in range(0, count, step):
            stop = min(start + step, count)
            if rows is None:
                yield np.arange(start, stop), read(start, stop)
            else:
                places = rows[start:stop]
                yield places, _chosen(read, places, values.shape[1])


def on_disk(values: NDArray[np.float32]) -> bool:
    """True for a matrix on disk that can be read without its mapping."""
    return (
        isinstance(values, np.memmap)
        and (values.flags.c_contiguous or values.flags.f_contiguous)
        and values.ndim == 2
        and values.dtype == np.float32
        and getattr(values, "filename", None) is not None
        and isinstance(getattr(values, "_mmap", None), mmap.mmap)
    )


def is_turned(values: NDArray[np.float32]) -> bool:
    """True for a matrix on disk whose columns, not its rows, lie one after the other."""
    return on_disk(values) and not values.flags.c_contiguous


def rows_in(num_features: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Rows of ``num_features`` float32 that fit ``block_bytes``; one at least.

    Example:
        >>> rows_in(4, 100), rows_in(1000, 100)
        (6, 1)
    """
    return max(1, block_bytes // (_ITEM * max(num_features, 1)))


@contextmanager
def _reader(values: NDArray[np.float32]) -> Iterator[Any]:
    """A function of (start, stop) that gives rows without touching a mapping."""
    if not on_disk(values):
        yield lambda start, stop: values[start:stop]
        return
    origin, width = file_offset(values), values.shape[1]
    descriptor = os.open(values.filename, os.O_RDONLY)  # type: ignore[attr-defined]
    turned = is_turned(values)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        if turned:
            return read_turned(descriptor, origin, values.shape[::-1], start, stop)
        block = np.empty((stop - start, width), dtype=np.float32)
        fill(descriptor, block.data.cast("B"), origin + start * width * _ITEM)
        return block

    try:
        yield read
    finally:
        os.close(descriptor)


def read_turned(
    descriptor: int, origin: int, shape: tuple[int, ...], start: int, stop: int
) -> NDArray[np.float32]:
    """Columns ``start`` to ``stop`` of a matrix in a file as rows, ``(stop - start, row)``.

    Args:
        descriptor: The open file.
        origin: Byte at which the matrix begins.
        shape: Its rows and columns.
        start: First column.
        stop: Column after the last one.
    """
    height, width = shape
    tile = np.empty((height, stop - start), dtype=np.float32)
    for row in range(height):
        fill(descriptor, tile[row].data.cast("B"), origin + (row * width + start) * _ITEM)
    return np.ascontiguousarray(tile.T)


def _chosen(read: Any, places: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """Rows at ``places``; neighbours are read in one go."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    edges = [0, *breaks.tolist(), len(places)]
    if len(edges) == 2:
        return np.asarray(read(int(places[0]), int(places[-1]) + 1))
    block = np.empty((len(places), width), dtype=np.float32)
    for start, stop in pairwise(edges):
        first = int(places[start])
        block[start:stop] = read(first, first + stop - start)
    return block


def file_offset(values: Any) -> int:
    """Byte of the file at which a (view of a) matrix on disk starts.

    A view keeps the offset of the matrix it was cut from, so it is counted from the mapping.
    """
    mapped = np.frombuffer(values._mmap, dtype=np.uint8)
    within = values.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    return int(values.offset - values.offset % mmap.ALLOCATIONGRANULARITY + within)


def fill(descriptor: int, buffer: memoryview, offset: int) -> None:
    """Read the bytes of a file that start at ``offset`` into all of ``buffer``.

    Raises:
        EOFError: If the file ends before.
    """
    while buffer:
        got = os.preadv(descriptor, [buffer], offset)
        if got == 0:
            message = f"the file ends at byte {offset}, {len(buffer)} bytes too early"
            raise EOFError(message)
        buffer, offset = buffer[got:], offset + got
