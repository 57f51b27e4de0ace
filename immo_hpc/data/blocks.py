"""Walking matrices block by block, so that one larger than memory never has to be in memory.

A matrix on disk is a read-only, C-contiguous ``np.memmap``. It is read with ``pread`` into small
buffers instead of through its mapping: pages of a mapping count as resident memory of the
process, pages of the file cache do not. Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.work import WorkFolder

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


def gather(
    values: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64] | None = None,
    *,
    scratch: Path | None = None,
) -> NDArray[np.float32]:
    """Rows and columns of a matrix, in the order given.

    Args:
        values: ``(row, feature)``, float32; an array or a matrix on disk.
        rows: Rows to take, ``(chosen row,)``.
        columns: Columns to take, ``(chosen feature,)``; all if not given.
        scratch: Folder for the outcome where ``values`` is a matrix on disk. The same request
            finds the file of an earlier one.

    Returns:
        ``(chosen row, chosen feature)``, float32: ``values`` itself if nothing changes, a
        matrix on disk if ``scratch`` is given and ``values`` is one, else an array.

    Raises:
        OutputError: If ``scratch`` cannot be written.
    """
    if columns is not None and _is_all(columns, values.shape[1]):
        columns = None
    if columns is None and _is_all(rows, len(values)):
        return values
    shape = (len(rows), values.shape[1] if columns is None else len(columns))
    if scratch is not None and on_disk(values) and 0 not in shape:
        blocks = (
            block if columns is None else block[:, columns] for _, block in row_blocks(values, rows)
        )
        return kept_matrix(scratch, _gathered_name(values, rows, columns), shape, blocks)
    taken = np.empty(shape, dtype=np.float32)
    filled = 0
    for _, block in row_blocks(values, rows):
        taken[filled : filled + len(block)] = block if columns is None else block[:, columns]
        filled += len(block)
    return taken


def on_disk(values: NDArray[np.float32]) -> bool:
    """True for a matrix on disk that can be read without its mapping."""
    return (
        isinstance(values, np.memmap)
        and values.flags.c_contiguous
        and values.ndim == 2
        and values.dtype == np.float32
        and getattr(values, "filename", None) is not None
        and isinstance(getattr(values, "_mmap", None), mmap.mmap)
    )


def open_matrix(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A file of float32 in row order as a read-only matrix, ``(row, feature)``."""
    if 0 in shape:
        return np.empty(shape, dtype=np.float32)
    return np.memmap(file, dtype=np.float32, mode="r", shape=shape)


def kept_matrix(
    scratch: Path, name: str, shape: tuple[int, int], blocks: Iterable[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The matrix ``scratch/name``, written from blocks of rows unless it is there already.

    Processes that share ``scratch`` write it once.

    Raises:
        OutputError: If it cannot be written.
    """

    def write(_: str, temporary: Path) -> None:
        with temporary.open("wb") as stream:
            for block in blocks:
                write_rows(stream, block)

    WorkFolder(scratch).do_all([name], write)
    return open_matrix(scratch / name, shape)


def write_rows(stream: Any, rows: NDArray[np.float32]) -> None:
    """Append rows, ``(row, feature)``, to a file opened for writing bytes."""
    stream.write(np.ascontiguousarray(rows, dtype=np.float32).data.cast("B"))


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

    def read(start: int, stop: int) -> NDArray[np.float32]:
        block = np.empty((stop - start, width), dtype=np.float32)
        fill(descriptor, block.data.cast("B"), origin + start * width * _ITEM)
        return block

    try:
        yield read
    finally:
        os.close(descriptor)


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


def _is_all(places: NDArray[np.int64], count: int) -> bool:
    return len(places) == count and bool((places == np.arange(count)).all())


def _gathered_name(values: Any, rows: NDArray[np.int64], columns: NDArray[np.int64] | None) -> str:
    stat = Path(values.filename).stat()
    key = hashlib.blake2b(digest_size=12)
    key.update(f"{values.filename} {stat.st_size} {stat.st_mtime_ns} {values.shape}".encode())
    key.update(str(file_offset(values)).encode())
    key.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    if columns is not None:
        key.update(b"columns" + np.ascontiguousarray(columns, dtype=np.int64).tobytes())
    return f"{Path(values.filename).name.partition('.')[0]}.{key.hexdigest()}.f32"
