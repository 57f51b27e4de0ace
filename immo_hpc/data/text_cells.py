"""Lines of a TSV or CSV table as names and numbers, with every rule of the format."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from immo_hpc.data.streams import RowBlock
from immo_hpc.data.tables import MISSING_TEXTS, text_message
from immo_hpc.data.text_chunks import Lines
from immo_hpc.errors import CohortError


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are to be read.

    Attributes:
        path: The file.
        delimiter: Separator of cells.
        header: Column names.
        place: Column of the row names.
        chosen: Columns of numbers to read, in order.
        line: Lines up to the header.
    """

    path: Path
    delimiter: str
    header: list[str]
    place: int
    chosen: list[int]
    line: int


def ragged_message(path: Path, line: int, found: int, expected: int) -> str:
    """What to say about a line of another length than the header."""
    return (
        f"{path}, line {line}: expected {expected} cells as in the header, found {found}. "
        "Complete the line; the file may be truncated or hold a stray separator."
    )


def careful_rows(lines: Lines, line: int, layout: Layout) -> tuple[int, RowBlock]:
    """How many lines were read, and what stands in them, by every rule of the format.

    Args:
        lines: Lines of the file. Those at hand are read, and behind them those that the last
            cell in quotes goes on in.
        line: Number of lines before these.
        layout: How the lines are to be read.

    Raises:
        CohortError: Naming the first line that is ragged or holds text where a number belongs.
    """
    number, rows = lines.at_hand(), csv.reader(lines, delimiter=layout.delimiter)
    read = _Read(layout)
    while rows.line_num < number:
        cells = next(rows, None)
        if cells is None:
            break
        if not cells:
            continue
        at = line + rows.line_num
        if len(cells) != len(layout.header):
            read.values()  # What is wrong above comes first.
            raise CohortError(ragged_message(layout.path, at, len(cells), len(layout.header)))
        read.names.append(cells[layout.place])
        read.lines.append(at)
        read.texts.extend(cells[number].strip() for number in layout.chosen)
    return rows.line_num, (read.names, read.values())


@dataclass(frozen=True)
class _Read:
    """Rows as they stand in the file: name and line of each, and all their cells."""

    layout: Layout
    names: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def values(self) -> NDArray[np.float32]:
        """The cells as numbers, ``(row, feature)``.

        Raises:
            CohortError: Naming the first that is none.
        """
        width = len(self.layout.chosen)
        try:
            return numbers_of(self.texts).reshape(len(self.names), width)
        except pa.ArrowInvalid:
            for place, text in enumerate(self.texts):
                row, column = divmod(place, width)
                self._require_number(row, column, text)
            raise

    def _require_number(self, row: int, column: int, text: str) -> None:
        try:
            numbers_of([text])
        except pa.ArrowInvalid:
            feature = self.layout.header[self.layout.chosen[column]]
            spot = f"line {self.lines[row]} (sample '{self.names[row]}'), column '{feature}'"
            raise CohortError(text_message(f"{self.layout.path}, {spot}", text)) from None


def numbers_of(texts: Sequence[str | None]) -> NDArray[np.float32]:
    """Texts as numbers, NaN for those that mean a missing value.

    Raises:
        pyarrow.ArrowInvalid: If one is neither.
    """
    column = pa.array(texts, type=pa.string())
    missing = pc.is_in(column, value_set=pa.array(MISSING_TEXTS, type=pa.string()))
    known = pc.if_else(missing, pa.scalar(None, type=pa.string()), column)
    return np.asarray(known.cast(pa.float32()).to_numpy(zero_copy_only=False), dtype=np.float32)
