"""Reading TSV and CSV tables: fast where all is well, exact about the place where it is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from immo_hpc.data.packed import opened_bytes
from immo_hpc.data.streams import RowBlock, TableStream, guarded
from immo_hpc.data.tables import (
    DELIMITERS,
    id_place,
    matching,
    reading,
    table_name,
    table_suffix,
)
from immo_hpc.data.text_cells import Layout, parsed_lines, ragged_message, splitter
from immo_hpc.errors import CohortError

_NAMES = {"\t": "tabs", ",": "commas"}
# Lines are parsed in blocks of about this many characters: small enough for the caches.
_BLOCK_CHARACTERS = 4 << 20


def text_stream(path: Path, patterns: Sequence[str]) -> TableStream:
    """Open a TSV or CSV file of numbers (see `immo_hpc.data.read.read_table`).

    Raises:
        CohortError: Then, or while the blocks are walked.
    """
    with reading(path):
        header, line = _header(path)
    place = id_place(header)
    others = [number for number in range(len(header)) if number != place]
    fitting = [others[hit] for hit in matching([header[n] for n in others], patterns)]
    layout = Layout(path, delimiter_of(path), header, place, fitting or others, line)
    return TableStream(
        table_name(path),
        tuple(header[number] for number in layout.chosen),
        guarded(path, _blocks(layout)),
        path,
        header[place],
    )


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
    """The file as UTF-8 text, unpacked if it is packed, without a byte order mark."""
    with (
        opened_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
    ):
        yield text


def _header(path: Path) -> tuple[list[str], int]:
    """Column names, and lines up to the header."""
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
    return header, skipped


def _blocks(layout: Layout) -> Iterator[RowBlock]:
    split = splitter(layout)
    line = layout.line
    with opened_text(layout.path) as stream:
        for _ in range(layout.line):
            next(stream)
        while lines := stream.readlines(_BLOCK_CHARACTERS):
            # The reader behind may need the lines after these to end a quoted cell.
            count, block = parsed_lines(lines, stream, line, split, layout)
            line += count
            if len(block[0]):
                yield block
