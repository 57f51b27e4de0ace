"""Columns of a shard, and the way of the sample table into Arrow and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from immo_hpc.data.manifest import FORMAT, VERSION, Manifest, features_digest
from immo_hpc.errors import ShardError

# Key-value metadata of each Parquet file, so that a shard of another cohort is told apart.
TAG = FORMAT.encode()


def values_column(layer: str) -> str:
    """Column of the values of ``layer``."""
    return f"x_{layer}"


def scale_column(layer: str) -> str:
    """Column of what the preparation divided each row of ``layer`` by."""
    return f"scale_{layer}"


def sample_column(column: str) -> str:
    """Column of a column of the sample table."""
    return f"obs_{column}"


def values_type(dtype: str) -> pa.DataType:
    """List of one sample's values; they are never null, a missing value is NaN.

    Every list has as many values as the layer has features. The Arrow type does not say so,
    because before Arrow 26 a fixed-size list that is null cannot be read (docs/adr/0005).
    """
    kind = {"float32": pa.float32(), "float16": pa.float16()}[dtype]
    return pa.list_(pa.field("element", kind, nullable=False))


def identity_fields() -> dict[str, pa.DataType]:
    """Columns every shard starts with."""
    return {"sample_id": pa.string(), "sample_uid": pa.int64(), "split": pa.string()}


def layer_fields(layers: Iterable[str], dtype: str) -> dict[str, pa.DataType]:
    """Columns of the layers, two each, after those of the samples."""
    fields = {}
    for layer in layers:
        fields[values_column(layer)] = values_type(dtype)
        fields[scale_column(layer)] = pa.float32()
    return fields


def expected_types(manifest: Manifest) -> dict[str, str]:
    """Arrow type, as text, of every column a shard of this manifest must have."""
    types = {name: str(kind) for name, kind in identity_fields().items()}
    types |= {sample_column(name): kind for name, kind in manifest.columns.items()}
    layers = layer_fields(manifest.features, manifest.dtype)
    return types | {name: str(kind) for name, kind in layers.items()}


def shard_tag(features: Mapping[str, Sequence[str]]) -> bytes:
    """What a shard of these features says of itself in its metadata."""
    return f"version {VERSION}, features {features_digest(features)}".encode()


def ragged_row(column: pa.ChunkedArray, num_features: int) -> int | None:
    """First row whose list is neither null nor of one value a feature; None if all are right."""
    start = 0
    for chunk in column.chunks:
        lengths = np.diff(chunk.offsets.to_numpy())
        expected = np.where(chunk.is_valid().to_numpy(zero_copy_only=False), num_features, 0)
        wrong = np.flatnonzero(lengths != expected)
        if len(wrong):
            return start + int(wrong[0])
        start += len(chunk)
    return None


def repeated_identity(uids: NDArray[np.int64]) -> tuple[int, int] | None:
    """Places of the first two samples of one ``sample_uid``; None if all differ."""
    _, first, group = np.unique(uids, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[group] != np.arange(len(uids)))
    return (int(first[group[repeated[0]]]), int(repeated[0])) if len(repeated) else None


def samples_to_arrow(samples: pd.DataFrame) -> dict[str, pa.Array]:
    """The sample table as Arrow columns, one type each for all shards.

    Text keeps None as null; columns of mixed content and categories become text.

    Raises:
        ShardError: If two columns have one name.
    """
    names = [str(column) for column in samples.columns]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        message = f"sample table: the columns {twice} occur more than once; rename them."
        raise ShardError(message)
    return {name: _to_arrow(samples.iloc[:, place]) for place, name in enumerate(names)}


def samples_from_arrow(table: pa.Table, columns: Mapping[str, str]) -> pd.DataFrame:
    """The sample table from the columns of all shards; text columns hold str and None."""
    data = {name: _from_arrow(table.column(sample_column(name))) for name in columns}
    index = pd.Index(table.column("sample_id").to_pylist(), dtype=object, name="sample_id")
    return pd.DataFrame(data, index=range(len(index))).set_index(index)


def _to_arrow(column: pd.Series) -> pa.Array:
    values = column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
    try:
        array = pa.Array.from_pandas(values)
    except pa.ArrowException:
        array = None  # mixed content: text below
    if array is not None and not _is_text(array.type):
        return array
    return pa.array([None if pd.isna(value) else str(value) for value in values], pa.string())


def _from_arrow(column: pa.ChunkedArray) -> pd.Series:
    if _is_text(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    return column.to_pandas()


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    )
