"""Reading TSV and CSV tables: fast where all is well, exact about the place where it is not."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from immo_hpc.data.tables import (
    DELIMITERS,
    MISSING_TEXTS,
    Table,
    checked_ids,
    id_place,
    is_number,
    matching,
    reading,
    table_name,
    table_suffix,
    text_message,
)
from immo_hpc.errors import CohortError

_NAMES = {"\t": "tabs", ",": "commas"}
# Arrow parses block by block; blocks of many rows keep wide tables fast.
_ROWS_PER_BLOCK = 256
_LEAST_BLOCK = 1 << 20
_MOST_BLOCK = 1 << 28


def read_text_table(path: Path, patterns: Sequence[str]) -> Table:
    """Read a TSV or CSV file of numbers (see `immo_hpc.data.read.read_table`)."""
    with reading(path):
        header, skipped, width = _header(path)
        place = id_place(header)
        others = [number for number in range(len(header)) if number != place]
        fitting = [others[hit] for hit in matching([header[n] for n in others], patterns)]
        chosen = fitting or others
        try:
            content = _parse(path, len(header), place, chosen, skipped, width)
        except pa.ArrowInvalid:
            _explain(path, header, place, chosen)
            raise
    ids = checked_ids(content.column(0).to_pylist(), str(path), header[place])
    values = np.empty((len(ids), len(chosen)), dtype=np.float32)
    for target in range(len(chosen)):
        values[:, target] = content.column(target + 1).to_numpy()
    return Table(table_name(path), ids, tuple(header[n] for n in chosen), values, path)


def read_text_ids(path: Path) -> set[str]:
    """Names in the first column and in the header of a TSV or CSV file."""
    delimiter = delimiter_of(path)
    with reading(path), opened_text(path) as stream:
        header = next(csv.reader(stream, delimiter=delimiter), [])
        first = {line.partition(delimiter)[0].strip().strip('"') for line in stream}
    return {name.strip() for name in header} | first


def text_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank, the header first."""
    with opened_text(path) as stream:
        lines = csv.reader(stream, delimiter=delimiter_of(path))
        for cells in lines:
            if any(cells):
                yield lines.line_num, cells


def delimiter_of(path: Path) -> str:
    """Separator of cells in a ``.tsv`` or ``.csv`` file."""
    suffix = table_suffix(path)
    assert suffix in DELIMITERS
    return DELIMITERS[suffix]


@contextmanager
def opened_text(path: Path) -> Iterator[TextIO]:
    """The file as UTF-8 text, unpacked if it is gzipped, without a byte order mark."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else Path.open
    with opener(path, mode="rt", encoding="utf-8-sig", newline="") as stream:
        yield stream


def ragged_message(path: Path, line: int, found: int, expected: int) -> str:
    """What to say about a line of another length than the header."""
    return (
        f"{path}, line {line}: expected {expected} cells as in the header, found {found}. "
        "Complete the line; the file may be truncated or hold a stray separator."
    )


def _header(path: Path) -> tuple[list[str], int, int]:
    """Column names, lines up to the header, and length of the first data line."""
    rows = text_rows(path)
    skipped, header = next(rows, (0, []))
    line, first = next(rows, (0, []))
    header = [name.strip() for name in header]
    if len(first) == len(header) + 1:  # R leaves out the name of the first column.
        header = ["", *header]
    if len(header) < 2:
        separator = _NAMES[delimiter_of(path)]
        message = (
            f"{path}: expected a header with sample_id and features separated by {separator}, "
            f"found {' '.join(header)[:60]!r}. Check the separator."
        )
        raise CohortError(message)
    if not first:
        message = f"{path}: expected rows below the header, found none. Write the table again."
        raise CohortError(message)
    if len(first) != len(header):
        raise CohortError(ragged_message(path, line, len(first), len(header)))
    return header, skipped, sum(map(len, first)) + len(first)


def _parse(
    path: Path, num_columns: int, place: int, chosen: Sequence[int], skipped: int, width: int
) -> Any:
    names = [str(number) for number in range(num_columns)]
    block = min(max(_LEAST_BLOCK, width * _ROWS_PER_BLOCK), _MOST_BLOCK)
    types = {str(number): pa.float32() for number in chosen} | {str(place): pa.string()}
    return pacsv.read_csv(
        path,
        pacsv.ReadOptions(column_names=names, skip_rows=skipped, block_size=block),
        pacsv.ParseOptions(delimiter=delimiter_of(path)),
        pacsv.ConvertOptions(
            column_types=types,
            include_columns=[str(place), *(str(number) for number in chosen)],
            null_values=list(MISSING_TEXTS),
            strings_can_be_null=False,
        ),
    )


def _explain(path: Path, header: Sequence[str], place: int, chosen: Sequence[int]) -> None:
    """Go through the file line by line and raise for the first thing that is wrong."""
    rows = text_rows(path)
    next(rows)
    for line, cells in rows:
        if len(cells) != len(header):
            raise CohortError(ragged_message(path, line, len(cells), len(header)))
        for number in chosen:
            text = cells[number].strip()
            if text not in MISSING_TEXTS and not is_number(text):
                spot = f"{path}, line {line} (sample '{cells[place]}'), column '{header[number]}'"
                raise CohortError(text_message(spot, text))
