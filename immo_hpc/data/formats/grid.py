"""Tables with features as rows, of which the wanted ones are kept: in memory or on disk.

Legend of shapes: ``feature`` counts the rows that are kept, ``column`` the columns of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.blocks import is_turned, row_blocks
from immo_hpc.data.formats.grid_rows import Found, Wanted
from immo_hpc.data.formats.head import Head
from immo_hpc.data.matrices import gather, open_matrix, write_rows
from immo_hpc.data.spool import spool_name
from immo_hpc.data.tables import Table
from immo_hpc.data.turning import turned
from immo_hpc.errors import CohortError
from immo_hpc.files import refuse_output
from immo_hpc.work import WorkFolder


@dataclass(frozen=True)
class Grid:
    """The kept rows of a table with features as rows.

    Attributes:
        texts: Columns of text by name, each ``(feature,)``, empty cells as ''.
        columns: Names of the columns of numbers.
        values: ``(feature, column)``, float32, NaN = empty; in memory or on disk.
        num_rows: Rows there were, kept or not.
        num_zeros: Zeros that were made missing.
    """

    texts: dict[str, list[str]]
    columns: tuple[str, ...]
    values: NDArray[np.float32]
    num_rows: int
    num_zeros: int = 0


@dataclass(frozen=True)
class GridPlace:
    """Where the values of a grid go if they do not stay in memory.

    Attributes:
        scratch: Folder.
        name: File in it; one that is there already holds these very values.
    """

    scratch: Path
    name: str

    @classmethod
    def of(cls, head: Head, layer: str, scratch: Path | None, *how: object) -> Self | None:
        """The place of a layer's values, read in the way ``how``; None without ``scratch``."""
        if scratch is None:
            return None
        return cls(scratch, spool_name(head.path, layer, "grid", *how))


def read_grid(
    head: Head,
    texts: Sequence[str],
    keep: Callable[[dict[str, list[str]]], NDArray[np.bool_]],
    *,
    drop: Collection[str] = (),
    zeros_are_missing: bool = False,
    place: GridPlace | None = None,
) -> Grid:
    """Read a table with features as rows.

    Args:
        head: Header of the file.
        texts: Columns of text; all other columns hold numbers.
        keep: Tells from the columns of text which rows to keep, ``(row,)``, bool.
        drop: Columns that are passed over.
        zeros_are_missing: Whether 0 means the same as an empty cell.
        place: Where values go; None keeps them in memory.

    Raises:
        CohortError: If the file is damaged or ragged, or holds text where a number belongs.
        OutputError: If the place cannot be written, or the disk is full.
    """
    names = head.columns
    numbers = [place for place, name in enumerate(names) if name not in texts and name not in drop]
    if not numbers:
        message = (
            f"{head.path}: expected one column a sample behind {', '.join(texts)}, found none. "
            "Check that this is the merged table."
        )
        raise CohortError(message)
    wanted = Wanted(head, tuple(texts), tuple(numbers), keep, zeros_are_missing)
    if place is None:
        blocks: list[NDArray[np.float32]] = []
        found = wanted.read(blocks.append)
        empty = np.empty((0, len(numbers)), dtype=np.float32)
        values = np.concatenate(blocks) if blocks else empty
    else:
        found, values = _on_disk(wanted, place)
    columns = tuple(names[place] for place in numbers)
    return Grid(found.texts, columns, values, found.num_rows, found.num_zeros)


def _on_disk(wanted: Wanted, place: GridPlace) -> tuple[Found, NDArray[np.float32]]:
    found: Found | None = None

    def write(_: str, temporary: Path) -> None:
        nonlocal found
        with temporary.open("wb") as target:

            def put(block: NDArray[np.float32]) -> None:
                try:
                    write_rows(target, block)
                except OSError as error:
                    refuse_output(place.scratch, error)

            found = wanted.read(put)

    WorkFolder(place.scratch).do_all([place.name], write)
    if found is None:  # Another process wrote the values; the names are read by everyone.
        found = wanted.read(lambda block: None)
    shape = (len(found.texts[wanted.texts[0]]), len(wanted.numbers))
    return found, open_matrix(place.scratch / place.name, shape)


def as_table(grid: Grid, head: Head, name: str, features: Sequence[str]) -> Table:
    """The grid turned: samples as rows, features as columns."""
    return Table(name, grid.columns, tuple(features), turned(grid.values), head.path)


def without_empty(
    table: Table,
    holds: Callable[[NDArray[np.float32]], NDArray[np.bool_]] = lambda values: values > 0,
    scratch: Path | None = None,
) -> tuple[Table, list[str]]:
    """The table without samples in which nothing was found, and the names of those.

    A profile without a single value above 0 says that the assay failed, not that the sample
    is empty, and has no proportions.

    Args:
        table: The table.
        holds: Tells which values count as found.
        scratch: Folder for the outcome if the table is on disk.
    """
    found = np.zeros(len(table.sample_ids), dtype=np.bool_)
    if is_turned(table.values):
        for _, block in row_blocks(table.values.T):
            found |= holds(block).any(axis=0)
    else:
        for places, block in row_blocks(table.values):
            found[places] = holds(block).any(axis=1)
    names = np.asarray(table.sample_ids, dtype=object)
    if found.all():
        return table, []
    values = gather(table.values, np.flatnonzero(found), scratch=scratch)
    held = replace(table, sample_ids=tuple(names[found]), values=values)
    return held, list(names[~found])
