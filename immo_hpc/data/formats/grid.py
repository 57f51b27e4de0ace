"""Reading tables with features as rows: block by block, keeping only the rows that are wanted.

Legend of shapes: ``feature`` counts the rows that are kept, ``column`` the columns of numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from immo_hpc.data.formats.head import Head
from immo_hpc.data.tables import MISSING_TEXTS, Table, is_number, reading, text_message
from immo_hpc.data.text_cells import ragged_message
from immo_hpc.data.text_table import opened_text
from immo_hpc.errors import CohortError

# A block holds whole rows and is held in memory twice, as text and as numbers.
_LEAST_BLOCK = 1 << 22
_MOST_BLOCK = 1 << 29
_ROWS_PER_BLOCK = 64
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Grid:
    """The kept rows of a table with features as rows.

    Attributes:
        texts: Columns of text by name, each ``(feature,)``, empty cells as ''.
        columns: Names of the columns of numbers.
        values: ``(feature, column)``, float32, NaN = empty.
        num_rows: Rows there were, kept or not.
    """

    texts: dict[str, list[str]]
    columns: tuple[str, ...]
    values: NDArray[np.float32]
    num_rows: int


def read_grid(
    head: Head,
    texts: Sequence[str],
    keep: Callable[[dict[str, list[str]]], NDArray[np.bool_]],
    *,
    drop: Collection[str] = (),
) -> Grid:
    """Read a table with features as rows.

    Args:
        head: Header of the file.
        texts: Columns of text; all other columns hold numbers.
        keep: Tells from the columns of text which rows to keep, ``(row,)``, bool.
        drop: Columns that are passed over.

    Raises:
        CohortError: If the file is damaged or ragged, or holds text where a number belongs.
    """
    names = head.columns
    numbers = [place for place, name in enumerate(names) if name not in texts and name not in drop]
    if not numbers:
        message = (
            f"{head.path}: expected one column a sample behind {', '.join(texts)}, found none. "
            "Check that this is the merged table."
        )
        raise CohortError(message)
    with reading(head.path):
        try:
            kept_texts, blocks, num_rows = _read(head, texts, numbers, keep)
        except pa.ArrowInvalid:
            _explain(head, names.index(texts[0]), numbers)
            raise
    empty = np.empty((0, len(numbers)), dtype=np.float32)
    values = np.concatenate(blocks) if blocks else empty
    return Grid(kept_texts, tuple(names[place] for place in numbers), values, num_rows)


def _read(
    head: Head,
    texts: Sequence[str],
    numbers: Sequence[int],
    keep: Callable[[dict[str, list[str]]], NDArray[np.bool_]],
) -> tuple[dict[str, list[str]], list[NDArray[np.float32]], int]:
    places = [head.columns.index(name) for name in texts]
    kept_texts: dict[str, list[str]] = {name: [] for name in texts}
    blocks: list[NDArray[np.float32]] = []
    num_rows = 0
    compression = _COMPRESSION.get(head.path.suffix.lower())
    with pa.input_stream(str(head.path), compression=compression) as stream:
        for batch in _batches(stream, head, places, numbers):
            cells = {name: _stripped(batch.column(place)) for place, name in enumerate(texts)}
            wanted = keep(cells)
            num_rows += batch.num_rows
            if not wanted.any():
                continue
            for name, column in cells.items():
                kept_texts[name] += [text for text, hit in zip(column, wanted, strict=True) if hit]
            block = np.empty((int(wanted.sum()), len(numbers)), dtype=np.float32)
            for target in range(len(numbers)):
                column = batch.column(len(texts) + target)
                block[:, target] = column.to_numpy(zero_copy_only=False)[wanted]
            blocks.append(block)
    return kept_texts, blocks, num_rows


def _batches(stream: Any, head: Head, texts: Sequence[int], numbers: Sequence[int]) -> Any:
    block = min(max(_LEAST_BLOCK, head.width * _ROWS_PER_BLOCK), _MOST_BLOCK)
    types: dict[str, Any] = {str(place): pa.float32() for place in numbers}
    types |= {str(place): pa.string() for place in texts}
    return pacsv.open_csv(
        stream,
        pacsv.ReadOptions(
            column_names=[str(place) for place in range(len(head.columns))],
            skip_rows=head.skipped,
            block_size=block,
        ),
        pacsv.ParseOptions(
            delimiter=head.delimiter, quote_char=False if head.delimiter == "\t" else '"'
        ),
        pacsv.ConvertOptions(
            column_types=types,
            include_columns=[str(place) for place in (*texts, *numbers)],
            null_values=list(MISSING_TEXTS),
            strings_can_be_null=False,
        ),
    )


def _stripped(column: Any) -> list[str]:
    return [text.strip() for text in column.to_pylist()]


def _explain(head: Head, name: int, numbers: Sequence[int]) -> None:
    """Go through the file line by line and raise for the first thing that is wrong."""
    with opened_text(head.path) as stream:
        for _ in range(head.skipped):
            next(stream)
        lines = csv.reader(
            stream,
            delimiter=head.delimiter,
            quoting=csv.QUOTE_NONE if head.delimiter == "\t" else csv.QUOTE_MINIMAL,
        )
        for cells in lines:
            line = head.skipped + lines.line_num
            if not any(cells):
                continue
            if len(cells) != len(head.columns):
                raise CohortError(ragged_message(head.path, line, len(cells), len(head.columns)))
            for place in numbers:
                text = cells[place].strip()
                if text not in MISSING_TEXTS and not is_number(text):
                    spot = f"row '{cells[name]}', column '{head.columns[place]}'"
                    raise CohortError(text_message(f"{head.path}, line {line}, {spot}", text))


def as_table(grid: Grid, head: Head, name: str, features: Sequence[str]) -> Table:
    """The grid turned: samples as rows, features as columns."""
    return Table(
        name, grid.columns, tuple(features), np.ascontiguousarray(grid.values.T), head.path
    )


def without_empty(table: Table) -> tuple[Table, list[str]]:
    """The table without samples in which nothing was found, and the names of those.

    A profile without a single value above 0 says that the assay failed, not that the sample
    is empty, and has no proportions.
    """
    found = (table.values > 0).any(axis=1)
    names = np.asarray(table.sample_ids, dtype=object)
    if found.all():
        return table, []
    held = replace(table, sample_ids=tuple(names[found]), values=table.values[found])
    return held, list(names[~found])
