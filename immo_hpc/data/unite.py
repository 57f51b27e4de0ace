"""Tables and sample tables of several parts of a cohort, joined by name.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import file_offset, is_turned, on_disk, row_blocks
from immo_hpc.data.matrices import kept_matrix
from immo_hpc.data.tables import MISSING_TEXTS, Table

_WHOLE_FLOAT = re.compile(r"[+-]?\d+\.0+")


def united_table(tables: Sequence[Table], scratch: Path | None = None) -> Table:
    """Tables of one layer below each other, features by name.

    Args:
        tables: One a part; a feature that one lacks is missing (NaN) in its rows.
        scratch: Folder for the outcome if one of them is on disk.

    Raises:
        OutputError: If ``scratch`` cannot be written.
    """
    if len(tables) == 1:
        return tables[0]
    features = tuple(dict.fromkeys(name for table in tables for name in table.features))
    place = {name: number for number, name in enumerate(features)}
    ids = tuple(name for table in tables for name in table.sample_ids)
    shape = (len(ids), len(features))
    blocks = _united_blocks(tables, place)
    if scratch is not None and any(on_disk(table.values) for table in tables):
        values = kept_matrix(scratch, _united_name(tables), shape, blocks)
    else:
        values = np.empty(shape, dtype=np.float32)
        filled = 0
        for block in blocks:
            values[filled : filled + len(block)] = block
            filled += len(block)
    return Table(tables[0].name, ids, features, values)


def united_samples(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Sample tables below each other, columns by name; what a part lacks is unknown there.

    A column that one file writes as ``1.0`` and another as ``1`` holds ``1``.

    Example:
        >>> one = pd.DataFrame({"ibd": ["1.0", ""]}, index=["s1", "s2"])
        >>> united_samples([one, pd.DataFrame({"ibd": ["1"]}, index=["t1"])])["ibd"].tolist()
        ['1', '', '1']
    """
    columns = list(dict.fromkeys(str(name) for frame in frames for name in frame.columns))
    index = [str(name) for frame in frames for name in frame.index]
    named = [frame.set_axis([str(name) for name in frame.columns], axis=1) for frame in frames]
    data: dict[str, list[Any]] = {}
    for name in columns:
        held = [
            frame[name].astype(object).tolist() if name in frame else [None] * len(frame)
            for frame in named
        ]
        if not all(_are_whole_floats(values) for values in held):
            held = [_plain(values) if _are_whole_floats(values) else values for values in held]
        data[name] = [value for values in held for value in values]
    return pd.DataFrame(data, index=pd.Index(index, dtype=object), columns=columns, dtype=object)


def _are_whole_floats(values: Sequence[Any]) -> bool:
    known = [value for value in values if isinstance(value, str) and value not in MISSING_TEXTS]
    return all(_WHOLE_FLOAT.fullmatch(value) for value in known)


def _plain(values: Sequence[Any]) -> list[Any]:
    is_text = [isinstance(value, str) and bool(_WHOLE_FLOAT.fullmatch(value)) for value in values]
    return [
        value.partition(".")[0] if plain else value
        for value, plain in zip(values, is_text, strict=True)
    ]


def _united_blocks(
    tables: Sequence[Table], place: Mapping[str, int]
) -> Iterator[NDArray[np.float32]]:
    for table in tables:
        columns = np.array([place[name] for name in table.features], dtype=np.int64)
        is_same = len(columns) == len(place) and bool((np.diff(columns) == 1).all())
        for _, block in row_blocks(table.values):
            if is_same:
                yield block
                continue
            wide = np.full((len(block), len(place)), np.nan, dtype=np.float32)
            wide[:, columns] = block
            yield wide


def _united_name(tables: Sequence[Table]) -> str:
    key = hashlib.blake2b(digest_size=12)
    for table in tables:
        key.update("\0".join(table.features).encode() + b"\1")
        if on_disk(table.values):
            matrix: Any = table.values
            where = f"{matrix.filename} {file_offset(matrix)} {matrix.shape} {is_turned(matrix)}"
            key.update(where.encode())
        else:
            key.update(np.ascontiguousarray(table.values).tobytes())
    return f"{tables[0].name}.{key.hexdigest()}.f32"
