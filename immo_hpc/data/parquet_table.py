"""Reading Parquet tables: numbers of any type as float32, exact about the place of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.blocks import BLOCK_BYTES
from immo_hpc.data.packed import unpacked
from immo_hpc.data.streams import RowBlock, TableStream, guarded
from immo_hpc.data.tables import (
    NOT_A_LAYER,
    checked_ids,
    id_place,
    matching,
    reading,
    table_name,
    text_message,
)
from immo_hpc.data.text_cells import numbers_of
from immo_hpc.data.turning import column_file
from immo_hpc.errors import CohortError

# A row group of at most these bytes (as float32) is put together in memory, a larger one on disk.
_GROUP_BYTES = 2 * BLOCK_BYTES


@dataclass(frozen=True)
class _Layout:
    """What of a file is to be read.

    Attributes:
        path: The file.
        names: Column names.
        chosen: Columns of numbers to read, in order.
        leaves: First column of the file behind each column of the table, and the end of the last.
        ids: Names of all rows.
    """

    path: Path
    names: list[str]
    chosen: list[int]
    leaves: list[int]
    ids: tuple[str, ...]


def parquet_stream(path: Path, patterns: Sequence[str], scratch: Path | None = None) -> TableStream:
    """Open a Parquet file of numbers (see `immo_hpc.data.read.read_table`).

    Args:
        path: The file.
        patterns: Patterns of the features to read.
        scratch: Folder for what is too large for memory; None holds it in memory.

    Raises:
        CohortError: Then, or while the blocks are walked.
        OutputError: If ``scratch`` cannot be written.
    """
    with reading(path):
        file = pq.ParquetFile(unpacked(path, scratch))
        names = [str(name) for name in file.schema_arrow.names]
        num_rows = file.metadata.num_rows
    if len(names) < 2 or num_rows == 0:
        message = (
            f"{path}: expected a column sample_id, then features, and at least one row; found "
            f"{len(names)} columns and {num_rows} rows. Write it again."
        )
        raise CohortError(message)
    place = id_place(names)
    with reading(path):
        leaves = _leaves(file)
        column = _columns(file, [place], leaves, range(file.num_row_groups))[0]
    ids = id_texts(column, path, names[place])
    others = [number for number in range(len(names)) if number != place]
    fitting = [others[hit] for hit in matching([names[number] for number in others], patterns)]
    layout = _Layout(path, names, fitting or others, leaves, ids)
    features = tuple(names[number] for number in layout.chosen)
    return TableStream(
        table_name(path), features, guarded(path, _blocks(file, layout, scratch)), path
    )


def read_parquet_ids(path: Path) -> set[str]:
    """Names in the first column and in the header of a Parquet file."""
    with reading(path), opened_parquet(path) as file:
        names = [str(name) for name in file.schema_arrow.names]
        place = id_place(names)
        column = file.read(columns=[names[place]]).column(0)
    return {*names, *id_texts(column, path, names[place])}


@contextmanager
def opened_parquet(path: Path) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``, unpacked in memory if the file is packed."""
    with pq.ParquetFile(unpacked(path)) as file:
        yield file


def id_texts(column: Any, path: Path, name: str) -> tuple[str, ...]:
    """Row names of an Arrow column as text; whole numbers without a decimal point."""
    if pa.types.is_floating(column.type):
        whole = [
            int(v) if v is not None and v == v and v % 1 == 0 else v for v in column.to_pylist()
        ]
        texts = ["" if value is None else str(value) for value in whole]
    else:
        texts = ["" if value is None else str(value) for value in column.to_pylist()]
    return checked_ids(texts, str(path), name)


def _blocks(file: Any, layout: _Layout, scratch: Path | None) -> Iterator[RowBlock]:
    start = 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        ids = layout.ids[start:stop]
        width = len(layout.chosen)
        pieces = _pieces(file, group, ids, layout)
        if scratch is None or 4 * len(ids) * width <= _GROUP_BYTES:
            values = np.empty((len(ids), width), dtype=np.float32)
            filled = 0
            for piece in pieces:
                values[:, filled : filled + piece.shape[1]] = piece
                filled += piece.shape[1]
            yield ids, values
            del values  # The next ones are made before the name would let go of these.
        else:
            with column_file(scratch, len(ids)) as columns:
                for piece in pieces:
                    columns.add(piece)
                given = 0
                for block in columns.rows():
                    yield ids[given : given + len(block)], block
                    given += len(block)
        start = stop


def _pieces(
    file: Any, group: int, ids: Sequence[str], layout: _Layout
) -> Iterator[NDArray[np.float32]]:
    """The chosen columns of a row group, some at a time, ``(row, column)``."""
    step = max(1, BLOCK_BYTES // (8 * max(len(ids), 1)))
    for start in range(0, len(layout.chosen), step):
        places = layout.chosen[start : start + step]
        piece = np.empty((len(places), len(ids)), dtype=np.float32)
        for target, column in enumerate(_columns(file, places, layout.leaves, [group])):
            piece[target] = _numbers(column, layout.path, layout.names[places[target]], ids)
        yield piece.T


def _columns(
    file: Any, places: Sequence[int], leaves: Sequence[int], groups: Sequence[int]
) -> list[Any]:
    """Columns by place: names may stand twice, or hold a dot, which Arrow reads as a path."""
    wanted = [leaf for place in places for leaf in range(leaves[place], leaves[place + 1])]
    table = file.reader.read_row_groups(list(groups), column_indices=wanted, use_threads=False)
    return list(table.columns)


def _leaves(file: Any) -> list[int]:
    return [0, *accumulate(_num_leaves(field.type) for field in file.schema_arrow)]


def _num_leaves(kind: Any) -> int:
    """Columns of the file behind one column of the table; several if it is a structure."""
    if pa.types.is_struct(kind):
        return sum(_num_leaves(kind.field(number).type) for number in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _num_leaves(kind.key_type) + _num_leaves(kind.item_type)
    return _num_leaves(kind.value_type) if pa.types.is_nested(kind) else 1


def _numbers(column: Any, path: Path, name: str, ids: Sequence[str]) -> NDArray[np.float32]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return np.asarray(column.cast(pa.float32(), safe=False).to_numpy(), dtype=np.float32)
    if pa.types.is_null(kind):
        return np.full(len(ids), np.nan, dtype=np.float32)
    if pa.types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float32)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parsed(column, path, name, ids)
    message = (
        f"{path}, column '{name}': expected numbers, found values of type {kind}. {NOT_A_LAYER}"
    )
    raise CohortError(message)


def _parsed(column: Any, path: Path, name: str, ids: Sequence[str]) -> NDArray[np.float32]:
    texts = [None if text is None else text.strip() for text in column.to_pylist()]
    try:
        return numbers_of(texts)
    except pa.ArrowInvalid:
        pass
    for row, text in enumerate(texts):
        try:
            numbers_of([text])
        except pa.ArrowInvalid:
            place = f"{path}, sample '{ids[row]}', column '{name}'"
            raise CohortError(text_message(place, str(text))) from None
    message = f"{path}, column '{name}': expected numbers, found text. {NOT_A_LAYER}"
    raise CohortError(message)
