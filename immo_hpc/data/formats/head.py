"""The first lines of a text table: where its header is, and what its first rows are called."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.data.tables import reading
from immo_hpc.data.text_table import opened_text
from immo_hpc.errors import CohortError

_ROWS_LOOKED_AT = 8
_MOST_COMMENTS = 100


@dataclass(frozen=True)
class Head:
    """Header and first rows of a table of text.

    Attributes:
        path: The file.
        delimiter: Tab or comma, as the header has it.
        columns: Header cells without surrounding blanks; a leading ``#`` is kept.
        skipped: Lines before the first row of data.
        width: Characters of the first row of data.
        rows: First cells of the first rows of data.
    """

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    skipped: int
    width: int
    rows: tuple[str, ...]


def read_head(path: Path) -> Head:
    """Find header and data.

    Lines that begin with ``#`` and stand before or directly below the header are comments
    (MetaPhlAn writes its version and command there), unless one above has as many cells as
    the first other line: then that one is the header (HUMAnN's ``# Pathway``).

    Raises:
        CohortError: If the file is empty, unreadable, or has no row below a header.
    """
    with reading(path):
        lines = _first_lines(path)
    plain = [number for number, line in enumerate(lines) if line.strip() and line[0] != "#"]
    if not plain:
        raise CohortError(_no_rows(path))
    first = plain[0]
    delimiter = "\t" if "\t" in lines[first] else ","
    num_cells = len(cells_of(lines[first], delimiter))
    headers = [
        number
        for number in range(first)
        if num_cells > 1 and len(cells_of(lines[number], delimiter)) == num_cells
    ]
    header = headers[-1] if headers else first
    data = [number for number in plain if number > header]
    if not data:
        raise CohortError(_no_rows(path))
    return Head(
        path,
        delimiter,
        tuple(cell.strip() for cell in cells_of(lines[header], delimiter)),
        data[0],
        len(lines[data[0]]),
        tuple(cells_of(lines[number], delimiter)[0].strip() for number in data),
    )


def cells_of(line: str, delimiter: str) -> list[str]:
    r"""Cells of one line; quotes mean something between commas only.

    Example:
        >>> cells_of('"a, b",c', ","), cells_of('5"-x\ty', "\t")
        (['a, b', 'c'], ['5"-x', 'y'])
    """
    text = line.rstrip("\r\n")
    return text.split(delimiter) if delimiter == "\t" else next(csv.reader([text]), [])


def _first_lines(path: Path) -> list[str]:
    lines: list[str] = []
    num_plain = 0
    with opened_text(path) as stream:
        for line in stream:
            lines.append(line)
            num_plain += bool(line.strip()) and line[0] != "#"
            if num_plain > _ROWS_LOOKED_AT or len(lines) - num_plain > _MOST_COMMENTS:
                break
    return lines


def _no_rows(path: Path) -> str:
    return f"{path}: expected a header and rows below it, found none. Write the table again."
