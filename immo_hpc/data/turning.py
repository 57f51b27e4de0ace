"""Columns of a matrix on disk as rows, without either of them in memory as a whole.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.blocks import on_disk, read_turned
from immo_hpc.files import refuse_output

# A block holds a piece of every row of the matrix, so it has to be large for the pieces, each
# read by itself, not to be tiny.
TURN_BYTES = 64 << 20
_ITEM = np.dtype(np.float32).itemsize


def turned(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix with its columns as rows, ``(feature, row)``.

    A matrix on disk stays where it is, and is read the other way round.
    """
    return values.T if on_disk(values) else np.ascontiguousarray(values.T)


class ColumnFile:
    """A nameless file that takes a matrix column by column and gives it row by row."""

    def __init__(self, stream: Any, folder: Path, num_rows: int) -> None:
        """Take over ``stream``, an open file in ``folder``, for columns of ``num_rows``."""
        self._stream = stream
        self._folder = folder
        self._num_rows = num_rows
        self._num_columns = 0

    def add(self, columns: NDArray[np.float32]) -> None:
        """Append columns, ``(row, column)``.

        Raises:
            OutputError: If the disk is full.
        """
        try:
            self._stream.write(np.ascontiguousarray(columns.T, dtype=np.float32).data.cast("B"))
        except OSError as error:
            refuse_output(self._folder, error)
        self._num_columns += columns.shape[1]

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """All columns in blocks of rows, ``(block row, column)``."""
        self._stream.flush()
        shape = (self._num_columns, self._num_rows)
        return _turned_blocks(self._stream.fileno(), 0, shape)


@contextmanager
def column_file(folder: Path, num_rows: int) -> Iterator[ColumnFile]:
    """A `ColumnFile` in ``folder``; it is gone when the block ends, however it ends.

    Raises:
        OutputError: If the folder cannot be written.
    """
    try:
        stream = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    except OSError as error:
        refuse_output(folder, error)
    with stream:
        yield ColumnFile(stream, folder, num_rows)


def _turned_blocks(
    descriptor: int, origin: int, shape: tuple[int, ...]
) -> Iterator[NDArray[np.float32]]:
    height, width = shape
    step = max(1, TURN_BYTES // (_ITEM * max(height, 1)))
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    for start in range(0, width, step):
        yield read_turned(descriptor, origin, shape, start, min(start + step, width))
