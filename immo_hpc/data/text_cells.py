"""Lines of a TSV or CSV table as numbers: quickly where they are simple, else with every rule."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from immo_hpc.data.streams import RowBlock
from immo_hpc.data.tables import MISSING_TEXTS, text_message
from immo_hpc.errors import CohortError

_ARROW_BLOCK = 1 << 18


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


class _Unusual(Exception):
    """A line that is not simply cells between separators."""


def ragged_message(path: Path, line: int, found: int, expected: int) -> str:
    """What to say about a line of another length than the header."""
    return (
        f"{path}, line {line}: expected {expected} cells as in the header, found {found}. "
        "Complete the line; the file may be truncated or hold a stray separator."
    )


def parsed_lines(
    lines: list[str],
    following: TextIO,
    line: int,
    split: Callable[[str], tuple[str, str]],
    layout: Layout,
) -> tuple[int, RowBlock]:
    """How many lines were read, and what stands in them.

    Args:
        lines: Lines of the file, with their ends.
        following: The lines after them, for a cell in quotes that goes on there.
        line: Number of lines before these.
        split: What `splitter` gives.
        layout: How the lines are to be read.

    Raises:
        CohortError: Naming the first line that is ragged or holds text where a number belongs.
    """
    try:
        pairs = [split(text) for text in lines if text.strip("\r\n")]
        values = _long_values([cells for _, cells in pairs], len(layout.chosen))
        return len(lines), ([name for name, _ in pairs], values)
    except (_Unusual, pa.ArrowInvalid):
        return _carefully(lines, following, line, layout)


def splitter(layout: Layout) -> Callable[[str], tuple[str, str]]:
    """A function that gives the row name of a line, and its chosen cells one below the other."""
    delimiter, width = layout.delimiter, len(layout.header)
    is_plain = layout.place == 0 and len(layout.chosen) == width - 1
    choose = itemgetter(*layout.chosen) if len(layout.chosen) > 1 else None

    def split(text: str) -> tuple[str, str]:
        text = text.rstrip("\r\n")
        if text.count(delimiter) != width - 1:
            raise _Unusual
        name, _, rest = text.partition(delimiter)
        if '"' in text:
            # Row names alone in quotes are what R writes.
            is_quoted = len(name) > 1 and name[0] == name[-1] == '"' and text.count('"') == 2
            if not is_quoted or not is_plain:
                raise _Unusual
            name = name[1:-1]
        if is_plain:
            return name, rest.replace(delimiter, "\n")
        cells = text.split(delimiter)
        chosen = choose(cells) if choose else (cells[layout.chosen[0]],)
        return cells[layout.place], "\n".join(chosen)

    return split


def _long_values(rows: list[str], width: int) -> NDArray[np.float32]:
    """Rows of cells one below the other as numbers, ``(row, feature)``.

    They are parsed as one long column: Arrow needs some hundred bytes and a microsecond for
    every column of every block, more than the numbers themselves where a table is wide.
    """
    if not rows:
        return np.empty((0, width), dtype=np.float32)
    column = pacsv.read_csv(
        pa.BufferReader("\n".join([*rows, ""]).encode()),
        pacsv.ReadOptions(column_names=["cell"], block_size=_ARROW_BLOCK, use_threads=False),
        pacsv.ParseOptions(delimiter="\1", quote_char=False, ignore_empty_lines=False),
        pacsv.ConvertOptions(column_types={"cell": pa.float32()}, null_values=list(MISSING_TEXTS)),
    ).column(0)
    if len(column) != len(rows) * width:
        raise _Unusual
    return np.asarray(column.to_numpy(), dtype=np.float32).reshape(-1, width)


def _carefully(
    lines: list[str], following: TextIO, line: int, layout: Layout
) -> tuple[int, RowBlock]:
    """The same with every rule of the format, blanks around cells, and the place of a fault."""
    rows = csv.reader(chain(lines, following), delimiter=layout.delimiter)
    ids, values = [], []
    while rows.line_num < len(lines):
        cells = next(rows, None)
        if cells is None:
            break
        if not cells:
            continue
        if len(cells) != len(layout.header):
            at = line + rows.line_num
            raise CohortError(ragged_message(layout.path, at, len(cells), len(layout.header)))
        ids.append(cells[layout.place])
        texts = [cells[number].strip() for number in layout.chosen]
        try:
            values.append(numbers_of(texts))
        except pa.ArrowInvalid:
            _refuse_text(texts, line + rows.line_num, cells[layout.place], layout)
    width = len(layout.chosen)
    return rows.line_num, (ids, np.array(values, dtype=np.float32).reshape(-1, width))


def numbers_of(texts: Sequence[str | None]) -> NDArray[np.float32]:
    """Texts as numbers, NaN for those that mean a missing value.

    Raises:
        pyarrow.ArrowInvalid: If one is neither.
    """
    column = pa.array(texts, type=pa.string())
    missing = pc.is_in(column, value_set=pa.array(MISSING_TEXTS, type=pa.string()))
    known = pc.if_else(missing, pa.scalar(None, type=pa.string()), column)
    return np.asarray(known.cast(pa.float32()).to_numpy(zero_copy_only=False), dtype=np.float32)


def _refuse_text(texts: Sequence[str], line: int, name: str, layout: Layout) -> None:
    for number, text in zip(layout.chosen, texts, strict=True):
        try:
            numbers_of([text])
        except pa.ArrowInvalid:
            spot = f"{layout.path}, line {line} (sample '{name}'), column '{layout.header[number]}'"
            raise CohortError(text_message(spot, text)) from None
