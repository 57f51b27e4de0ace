"""A shard again, with layers and features it did not have; what it had stays bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc import files
from immo_hpc.data.manifest import Manifest, ShardFile
from immo_hpc.data.prepared import PreparedLayer
from immo_hpc.data.shards import layout, schema
from immo_hpc.data.shards.check import length_problems, row_groups, shard_problems
from immo_hpc.data.shards.columns import layer_columns, layer_values
from immo_hpc.errors import ShardError

# Layers that the samples at (first place in the shard, number of samples) get; rows count
# from that first place.
Completing = Callable[[int, int], Mapping[str, PreparedLayer]]


def rewrite_shard(
    folder: Path,
    manifest: Manifest,
    entry: ShardFile,
    name: str,
    features: Mapping[str, tuple[str, ...]],
    completing: Completing,
) -> tuple[ShardFile, NDArray[np.bool_]]:
    """Write a shard of a set once more under a new name, a row group in memory at a time.

    Args:
        folder: Folder of the set.
        manifest: Manifest of the set.
        entry: The shard, which is checked first.
        name: File name of the new one.
        features: Layers and features of the new one: those of the set in their order, then
            others. Old samples have NaN in features that joined a layer.
        completing: Layers that some of its samples get and did not have.

    Returns:
        The new shard, and which of its samples have which layers, ``(sample, layer)``.

    Raises:
        ShardError: If the shard is not what the manifest says, or a value cannot be stored.
        OutputError: If the disk is full.
    """
    if problem := next(shard_problems(folder, manifest, entry), None):
        raise ShardError(problem)
    source, target = folder / entry.name, folder / name
    others = [*schema.identity_fields(), *map(schema.sample_column, manifest.columns)]
    with pq.ParquetFile(source) as shard:
        about_samples = [shard.schema_arrow.field(column) for column in others]
    fields = schema.layer_fields(features, manifest.dtype)
    arrow_schema = pa.schema(
        [*about_samples, *(pa.field(column, kind) for column, kind in fields.items())],
        metadata={schema.TAG: schema.shard_tag(features)},
    )
    row_bytes = sum(map(len, features.values())) * np.dtype(manifest.dtype).itemsize
    measured = []
    with (
        files.atomic_path(target) as temporary,
        pq.ParquetWriter(
            temporary, arrow_schema, **layout.writer_options(others, features)
        ) as writer,
    ):
        for start, table in _slices(source, manifest, layout.rows_per_group(row_bytes)):
            given = completing(start, table.num_rows)
            columns = list(table.select(others).combine_chunks().columns)
            held = []
            for layer, names in features.items():
                has, pair = _layer(table, manifest, layer, len(names), given.get(layer))
                columns += pair
                held.append(has)
            writer.write_table(pa.Table.from_arrays(columns, schema=arrow_schema))
            measured.append(np.stack(held, axis=1))
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    written = ShardFile(name, entry.rows, target.stat().st_size, digest)
    return written, np.concatenate(measured)


def _slices(path: Path, manifest: Manifest, most_rows: int) -> Iterator[tuple[int, pa.Table]]:
    """Row groups of a shard, cut where one would be too large with what comes."""
    start = 0
    for group, table in row_groups(path):
        if problem := next(length_problems(path, manifest.features, group, table), None):
            raise ShardError(problem)
        for first in range(0, table.num_rows, most_rows):
            part = table.slice(first, most_rows)
            yield start, part
            start += part.num_rows


def _layer(
    table: pa.Table, manifest: Manifest, layer: str, width: int, given: PreparedLayer | None
) -> tuple[NDArray[np.bool_], tuple[pa.Array, pa.Array]]:
    """Which rows have a layer now, and its two columns."""
    has = np.zeros(table.num_rows, dtype=np.bool_)
    scale = np.zeros(table.num_rows, dtype=np.float32)
    old = np.empty((0, width), dtype=manifest.dtype)
    if layer in manifest.features:
        has, old = layer_values(table, layer, len(manifest.features[layer]))
        column = table.column(schema.scale_column(layer))
        scale[has] = column.drop_null().to_numpy()
    after = has.copy()
    if given is not None:
        after[given.rows] = True
        scale[given.rows] = given.scale
    values = np.full((int(after.sum()), width), np.nan, dtype=manifest.dtype)
    place = np.cumsum(after) - 1
    values[place[has], : old.shape[1]] = old
    if given is not None:
        with np.errstate(over="ignore"):
            values[place[given.rows]] = given.values.astype(manifest.dtype, copy=False)
        if np.isinf(values[place[given.rows]]).any():
            message = (
                f"layer '{layer}': found a value beyond what {manifest.dtype} can hold; check "
                "the table it came from."
            )
            raise ShardError(message)
    return after, layer_columns(after, values, scale[after], manifest.dtype)
