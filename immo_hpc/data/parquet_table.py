"""Reading Parquet tables: numbers of any type as float32, exact about the place of text."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.tables import (
    MISSING_TEXTS,
    NOT_A_LAYER,
    Table,
    checked_ids,
    id_place,
    is_number,
    matching,
    reading,
    table_name,
    text_message,
)
from immo_hpc.errors import CohortError


def read_parquet_table(path: Path, patterns: Sequence[str]) -> Table:
    """Read a Parquet file of numbers (see `immo_hpc.data.read.read_table`)."""
    with reading(path), opened_parquet(path) as file:
        content = file.read()
    if content.num_columns < 2 or content.num_rows == 0:
        message = (
            f"{path}: expected a column sample_id, then features, and at least one row; found "
            f"{content.num_columns} columns and {content.num_rows} rows. Write it again."
        )
        raise CohortError(message)
    names = [str(name) for name in content.column_names]
    place = id_place(names)
    ids = id_texts(content.column(place), path, names[place])
    others = [number for number in range(len(names)) if number != place]
    fitting = [others[hit] for hit in matching([names[number] for number in others], patterns)]
    chosen = fitting or others
    values = np.empty((len(ids), len(chosen)), dtype=np.float32)
    for target, number in enumerate(chosen):
        values[:, target] = _numbers(content.column(number), path, names[number], ids)
    return Table(table_name(path), ids, tuple(names[number] for number in chosen), values, path)


def read_parquet_ids(path: Path) -> set[str]:
    """Names in the first column and in the header of a Parquet file."""
    with reading(path), opened_parquet(path) as file:
        names = [str(name) for name in file.schema_arrow.names]
        place = id_place(names)
        column = file.read(columns=[names[place]]).column(0)
    return {*names, *id_texts(column, path, names[place])}


@contextmanager
def opened_parquet(path: Path) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``, unpacked in memory if the file is gzipped."""
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as stream:
            source: Any = pa.BufferReader(stream.read())
    else:
        source = path
    with pq.ParquetFile(source) as file:
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
    missing = pc.is_in(column, value_set=pa.array(MISSING_TEXTS, type=column.type))
    known = pc.if_else(missing, pa.scalar(None, type=column.type), column)
    try:
        return np.asarray(known.cast(pa.float32()).to_numpy(), dtype=np.float32)
    except pa.ArrowInvalid:
        pass
    for row, text in enumerate(known.to_pylist()):
        if text is not None and not is_number(text):
            raise CohortError(text_message(f"{path}, sample '{ids[row]}', column '{name}'", text))
    message = f"{path}, column '{name}': expected numbers, found text. {NOT_A_LAYER}"
    raise CohortError(message)
