"""Matrices on disk: opened, written once by whoever comes first, and gathered from others.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.blocks import file_offset, is_turned, on_disk, row_blocks
from immo_hpc.work import WorkFolder

_ITEM = np.dtype(np.float32).itemsize
# Places of rows in a matrix that is made, ``(row,)``, and the rows, ``(row, feature)``.
Placed = tuple[NDArray[np.int64], NDArray[np.float32]]


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

    def placed() -> Iterator[Placed]:
        start = 0
        for block in blocks:
            yield np.arange(start, start + len(block)), block
            start += len(block)

    return _kept(scratch, name, shape, placed())


def _kept(
    scratch: Path, name: str, shape: tuple[int, int], blocks: Iterable[Placed]
) -> NDArray[np.float32]:
    row_bytes = _ITEM * shape[1]

    def write(_: str, temporary: Path) -> None:
        with temporary.open("wb") as stream:
            for places, block in blocks:
                edges = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
                for low, high in pairwise(edges):
                    if low < high:
                        stream.seek(int(places[low]) * row_bytes)
                        write_rows(stream, block[low:high])

    WorkFolder(scratch).do_all([name], write)
    return open_matrix(scratch / name, shape)


def write_rows(stream: Any, rows: NDArray[np.float32]) -> None:
    """Append rows, ``(row, feature)``, to a file opened for writing bytes."""
    stream.write(np.ascontiguousarray(rows, dtype=np.float32).data.cast("B"))


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
    if columns is None and _is_all(rows, len(values)) and not is_turned(values):
        return values
    shape = (len(rows), values.shape[1] if columns is None else len(columns))
    blocks = _placed(values, rows, columns)
    if scratch is not None and on_disk(values) and 0 not in shape:
        return _kept(scratch, _gathered_name(values, rows, columns), shape, blocks)
    taken = np.empty(shape, dtype=np.float32)
    for places, block in blocks:
        taken[places] = block
    return taken


def _placed(
    values: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64] | None
) -> Iterator[Placed]:
    """Rows and columns of a matrix, block by block, and their places among those taken."""
    if not is_turned(values):
        start = 0
        for _, block in row_blocks(values, rows):
            places = np.arange(start, start + len(block))
            start += len(block)
            yield places, block if columns is None else block[:, columns]
        return
    # Reading a row of a turned matrix costs as much as reading many neighbours, so they come
    # in the order of the file and are put where they belong.
    order = np.argsort(rows, kind="stable")
    in_order = rows[order]
    for found, block in row_blocks(values):
        low, high = np.searchsorted(in_order, [found[0], found[-1] + 1])
        taken = block[in_order[low:high] - found[0]]
        yield order[low:high], taken if columns is None else taken[:, columns]


def _is_all(places: NDArray[np.int64], count: int) -> bool:
    return len(places) == count and bool((places == np.arange(count)).all())


def _gathered_name(values: Any, rows: NDArray[np.int64], columns: NDArray[np.int64] | None) -> str:
    stat = Path(values.filename).stat()
    key = hashlib.blake2b(digest_size=12)
    key.update(f"{values.filename} {stat.st_size} {stat.st_mtime_ns} {values.shape}".encode())
    key.update(f"{file_offset(values)} {is_turned(values)}".encode())
    key.update(np.ascontiguousarray(rows, dtype=np.int64).tobytes())
    if columns is not None:
        key.update(b"columns" + np.ascontiguousarray(columns, dtype=np.int64).tobytes())
    return f"{Path(values.filename).name.partition('.')[0]}.{key.hexdigest()}.f32"
