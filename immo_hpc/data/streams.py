"""Tables as streams of row blocks: what every reader gives, and how it becomes a table.

A stream is either collected in memory or written to a folder (`immo_hpc.data.spool`). Legend of
shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.tables import Table, checked_ids, reading

# How far an array grows beyond its need while the number of rows is unknown.
_GROWTH = 1 / 8
_Block = TypeVar("_Block")
RowBlock = tuple[Sequence[str], NDArray[np.float32]]


@dataclass(frozen=True)
class TableStream:
    """A table that is still to be read.

    Attributes:
        name: Name of the layer it makes.
        features: Names of the columns, ``(feature,)``.
        blocks: Names of some rows and their values, ``(block row, feature)``, float32, in the
            order of the file. Can be walked once.
        source: File it comes from, if any.
        id_column: Name of the column of row names, which are then checked; None if they are
            taken as they stand.
    """

    name: str
    features: tuple[str, ...]
    blocks: Iterator[RowBlock]
    source: Path | None = None
    id_column: str | None = None

    def checked(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Row names in their final form.

        Raises:
            CohortError: If one is empty, or they are measurements rather than names.
        """
        if self.id_column is None:
            return tuple(ids)
        return checked_ids(ids, str(self.source), self.id_column)


def held(stream: TableStream) -> Table:
    """Read a stream into memory.

    Raises:
        CohortError: As the reader of the file.
    """
    ids: list[str] = []
    values = np.empty((0, len(stream.features)), dtype=np.float32)
    for names, block in stream.blocks:
        start, stop = len(ids), len(ids) + len(block)
        ids += names
        if start == 0:
            values = block if block.flags.owndata and block.flags.c_contiguous else block.copy()
            continue
        if stop > len(values):
            # Grown in place by the system where it can: joining blocks would need them twice.
            values.resize((stop + int(stop * _GROWTH), values.shape[1]), refcheck=False)
        values[start:stop] = block
    values.resize((len(ids), values.shape[1]), refcheck=False)
    return Table(stream.name, stream.checked(ids), stream.features, values, stream.source)


def guarded(path: Path, blocks: Iterator[_Block]) -> Iterator[_Block]:
    """The blocks of a file; what a damaged one raises becomes a `CohortError` naming it.

    Raises:
        CohortError: As `immo_hpc.data.tables.reading`.
    """
    while True:
        with reading(path):
            block = next(blocks, None)
        if block is None:
            return
        yield block
        del block  # The next one is read before the name would let go of this one.
