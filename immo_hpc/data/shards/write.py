"""Writing a prepared cohort as shards, a row group at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc import files
from immo_hpc.data.manifest import Manifest, ShardFile, write_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import layout, schema
from immo_hpc.data.shards.plan import (
    ROWS_PER_SHARD,
    DType,
    ShardPlan,
    WrittenShard,
    merged_patterns,
    patterns_of,
    plan_shards,
)
from immo_hpc.errors import ShardError


def write_shards(
    cohort: PreparedCohort,
    preparation: Preparation,
    folder: Path,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    dtype: DType = "float32",
    config: Mapping[str, Any] | None = None,
    source: str | None = None,
    notices: Sequence[str] = (),
) -> Manifest:
    """Write ``cohort`` into a new folder of shards and a manifest (DESIGN.md, contract 3).

    The same input gives the same bytes. The folder gets its name last: stopped at any
    moment, there is no folder of that name.

    Args:
        cohort: Samples and layers; every layer has at least one feature, z-score units.
        preparation: What made the cohort; saved in the manifest.
        folder: Place to write: absent, or an empty folder.
        rows_per_shard: Samples in a file, >= 1.
        dtype: Type of the stored values; float16 halves the size and keeps 3 digits.
        config: The part of the configuration that made the cohort, as JSON values.
        source: Where the cohort came from, in words.
        notices: What was guessed or put right in it, as sentences.

    Returns:
        The manifest that was written.

    Raises:
        ShardError: For no samples, no layers, a layer without features, repeated sample
            ids or features, two ids of one ``sample_uid``, infinite values, or values
            that float16 cannot hold.
        OutputError: If the folder is not empty or the disk is full.
    """
    plan = plan_shards(cohort, dtype=dtype, rows_per_shard=rows_per_shard)
    with files.new_folder(Path(folder)) as temporary:
        written = [write_shard(plan, name, temporary, cohort.take) for name in plan.names]
        manifest = plan.manifest(
            written, preparation, config=config, source=source, notices=notices
        )
        write_manifest(manifest, temporary)
    return manifest


def write_shard(
    plan: ShardPlan,
    name: str,
    folder: Path,
    take: Callable[[NDArray[np.int64]], PreparedCohort],
) -> WrittenShard:
    """Write one shard, a row group at a time; the same bytes whoever writes it.

    Args:
        plan: The set it belongs to.
        name: One of the plan's names.
        folder: Folder of the shards.
        take: Gives the prepared samples at the given places, which follow each other.

    Raises:
        ShardError: For infinite values, or values that float16 cannot hold.
        OutputError: If the disk is full or the folder cannot be written.
    """
    start = plan.names.index(name) * plan.rows_per_shard
    samples = plan.samples.slice(start, plan.rows_per_shard)
    fields = schema.layer_fields(plan.features, plan.dtype)
    arrow_schema = pa.schema(
        [*samples.schema, *(pa.field(name, kind) for name, kind in fields.items())],
        metadata={schema.TAG: schema.shard_tag(plan.features)},
    )
    row_bytes = sum(map(len, plan.features.values())) * np.dtype(plan.dtype).itemsize
    group_rows = layout.rows_per_group(row_bytes)
    options = layout.writer_options(samples.column_names, plan.features)
    path = folder / name
    patterns = []
    with (
        files.atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, arrow_schema, **options) as writer,
    ):
        for first in range(0, samples.num_rows, group_rows):
            group = samples.slice(first, group_rows)
            cohort = take(np.arange(start + first, start + first + group.num_rows))
            columns = list(group.columns)
            for layer in cohort.layers.values():
                columns += _layer_columns(cohort, layer, plan.dtype)
            writer.write_table(pa.Table.from_arrays(columns, schema=arrow_schema))
            patterns.append(patterns_of(cohort))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    shard = ShardFile(path.name, samples.num_rows, path.stat().st_size, digest)
    return WrittenShard(shard, merged_patterns(patterns))


def _layer_columns(
    cohort: PreparedCohort, layer: PreparedLayer, dtype: DType
) -> tuple[pa.Array, pa.Array]:
    """Values and scale of one layer for the samples of ``cohort``; null where not measured."""
    num_rows = len(cohort.samples)
    with np.errstate(over="ignore"):
        values = layer.values.astype(dtype, copy=False)
    if np.isinf(values).any():
        raise ShardError(_infinite(cohort, layer, values, dtype))
    absent = np.ones(num_rows, dtype=np.bool_)
    absent[layer.rows] = False
    scale = np.zeros(num_rows, dtype=np.float32)
    scale[~absent] = layer.scale
    # Lists of the measured rows one after the other; those that are null have no values.
    offsets = np.zeros(num_rows + 1, dtype=np.int32)
    np.cumsum(np.where(absent, 0, len(layer.features)), out=offsets[1:])
    return (
        pa.ListArray.from_arrays(
            pa.array(offsets),
            pa.array(np.ascontiguousarray(values).reshape(-1)),
            type=schema.values_type(dtype),
            mask=pa.array(absent),
        ),
        pa.array(scale, mask=absent),
    )


def _infinite(
    cohort: PreparedCohort, layer: PreparedLayer, values: NDArray[Any], dtype: DType
) -> str:
    row, column = np.argwhere(np.isinf(values))[0]
    return (
        f"layer '{layer.name}', sample '{cohort.sample_ids[layer.rows[row]]}', feature "
        f"'{layer.features[column]}': found {layer.values[row, column]}, expected a value "
        f"that {dtype} can hold; check the table it came from, or store float32."
    )
