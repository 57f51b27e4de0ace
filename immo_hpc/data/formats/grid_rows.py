"""The rows of a table with features as rows that are wanted, block by block.

Legend of shapes as in `immo_hpc.data.formats.grid`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from immo_hpc.data.formats.head import Head
from immo_hpc.data.tables import MISSING_TEXTS, is_number, reading, text_message
from immo_hpc.data.text_cells import ragged_message
from immo_hpc.data.text_table import opened_text
from immo_hpc.errors import CohortError

# A block holds whole rows and is held in memory twice, as text and as numbers.
_LEAST_BLOCK = 1 << 22
_MOST_BLOCK = 1 << 29
_ROWS_PER_BLOCK = 64
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


@dataclass
class Found:
    """What is known of the rows beside their values.

    Attributes:
        texts: Columns of text of the kept rows by name, empty cells as ''.
        num_rows: Rows there were, kept or not.
        num_zeros: Zeros that were made missing.
    """

    texts: dict[str, list[str]]
    num_rows: int = 0
    num_zeros: int = 0


@dataclass(frozen=True)
class Wanted:
    """What is to be read from a file.

    Attributes:
        head: Header of the file.
        texts: Columns of text.
        numbers: Places of the columns of numbers.
        keep: Tells from the columns of text which rows to keep, ``(row,)``, bool.
        zeros_are_missing: Whether 0 means the same as an empty cell.
    """

    head: Head
    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    keep: Callable[[dict[str, list[str]]], NDArray[np.bool_]]
    zeros_are_missing: bool

    def read(self, put: Callable[[NDArray[np.float32]], None]) -> Found:
        """Read the file; ``put`` gets the values of kept rows, block by block.

        Raises:
            CohortError: If the file is damaged or ragged, or holds text for a number.
        """
        with reading(self.head.path):
            try:
                return self._read(put)
            except pa.ArrowInvalid:
                _explain(self.head, self.head.columns.index(self.texts[0]), self.numbers)
                raise

    def _read(self, put: Callable[[NDArray[np.float32]], None]) -> Found:
        head = self.head
        places = [head.columns.index(name) for name in self.texts]
        found = Found({name: [] for name in self.texts})
        compression = _COMPRESSION.get(head.path.suffix.lower())
        with pa.input_stream(str(head.path), compression=compression) as stream:
            for batch in _batches(stream, head, places, self.numbers):
                cells = {name: _stripped(batch.column(n)) for n, name in enumerate(self.texts)}
                wanted = self.keep(cells)
                found.num_rows += batch.num_rows
                if not wanted.any():
                    continue
                for name, column in cells.items():
                    chosen = zip(column, wanted, strict=True)
                    found.texts[name] += [text for text, hit in chosen if hit]
                block = self._values(batch, wanted)
                if self.zeros_are_missing:
                    zeros = block == 0
                    found.num_zeros += int(np.count_nonzero(zeros))
                    block[zeros] = np.nan
                put(block)
        return found

    def _values(self, batch: Any, wanted: NDArray[np.bool_]) -> NDArray[np.float32]:
        block = np.empty((int(wanted.sum()), len(self.numbers)), dtype=np.float32)
        for target in range(len(self.numbers)):
            column = batch.column(len(self.texts) + target)
            block[:, target] = column.to_numpy(zero_copy_only=False)[wanted]
        return block


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
