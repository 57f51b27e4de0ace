"""Writing a prepared cohort as shards, a row group at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc import files
from immo_hpc._version import __version__
from immo_hpc.data.manifest import Manifest, Pattern, ShardFile, write_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import layout, schema
from immo_hpc.errors import ShardError

DType = Literal["float32", "float16"]


def write_shards(
    cohort: PreparedCohort,
    preparation: Preparation,
    folder: Path,
    *,
    rows_per_shard: int = 4096,
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
    if rows_per_shard < 1:
        message = f"rows_per_shard: expected at least 1, found {rows_per_shard}."
        raise ShardError(message)
    _require_writable(cohort)
    samples, columns = _sample_table(cohort)
    with files.new_folder(Path(folder)) as temporary:
        shards: list[ShardFile] = []
        for start in range(0, samples.num_rows, rows_per_shard):
            path = temporary / f"{len(shards):05d}.parquet"
            part = samples.slice(start, rows_per_shard)
            shards.append(_write_shard(path, cohort, part, start, dtype))
        manifest = Manifest(
            features={name: layer.features for name, layer in cohort.layers.items()},
            dtype=dtype,
            columns=columns,
            roles=cohort.roles,
            shards=tuple(shards),
            patterns=_patterns(cohort),
            splits={} if cohort.split is None else _counts(cohort.split),
            preparation=preparation.to_dict(),
            config=config or {},
            source=source,
            notices=tuple(notices),
            created_by={"immo-hpc": __version__, "pyarrow": pa.__version__},
        )
        write_manifest(manifest, temporary)
    return manifest


def _require_writable(cohort: PreparedCohort) -> None:
    if not len(cohort.samples) or not cohort.layers:
        message = (
            f"expected at least one sample and one layer to write, found {len(cohort.samples)} "
            f"samples and {len(cohort.layers)} layers; check what the cohort was filtered by."
        )
        raise ShardError(message)
    for name, layer in cohort.layers.items():
        if not layer.features or len(set(layer.features)) < len(layer.features):
            found = "a name that occurs twice" if layer.features else "none"
            message = (
                f"layer '{name}': expected one or more features of different names, found "
                f"{found}; leave the layer out, or loosen the preparation's filters."
            )
            raise ShardError(message)
    if pair := schema.repeated_identity(cohort.sample_uid):
        one, other = (cohort.sample_ids[place] for place in pair)
        message = (
            f"samples {pair[0]} ('{one}') and {pair[1]} ('{other}'): expected different "
            "sample_uid, found the same one; every sample needs its own id: rename one of them."
        )
        raise ShardError(message)


def _sample_table(cohort: PreparedCohort) -> tuple[pa.Table, dict[str, str]]:
    """Columns about the samples, and the Arrow types of those of the sample table."""
    split = [None] * len(cohort.samples) if cohort.split is None else cohort.split.tolist()
    identity = (cohort.sample_ids, cohort.sample_uid, split)
    fields = schema.identity_fields()
    columns = {
        name: pa.array(values, kind)
        for (name, kind), values in zip(fields.items(), identity, strict=True)
    }
    observed = schema.samples_to_arrow(cohort.samples)
    columns |= {schema.sample_column(name): array for name, array in observed.items()}
    return pa.table(columns), {name: str(array.type) for name, array in observed.items()}


def _write_shard(
    path: Path, cohort: PreparedCohort, samples: pa.Table, start: int, dtype: DType
) -> ShardFile:
    """Write the samples from place ``start`` on; ``samples`` holds their other columns."""
    features = {name: layer.features for name, layer in cohort.layers.items()}
    fields = schema.layer_fields(features, dtype)
    arrow_schema = pa.schema(
        [*samples.schema, *(pa.field(name, kind) for name, kind in fields.items())],
        metadata={schema.TAG: schema.shard_tag(features)},
    )
    row_bytes = sum(len(names) for names in features.values()) * np.dtype(dtype).itemsize
    group_rows = layout.rows_per_group(row_bytes)
    options = layout.writer_options(samples.column_names, features)
    with (
        files.atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, arrow_schema, **options) as writer,
    ):
        for first in range(0, samples.num_rows, group_rows):
            group = samples.slice(first, group_rows)
            columns = list(group.columns)
            for layer in cohort.layers.values():
                columns += _layer_columns(cohort, layer, start + first, group.num_rows, dtype)
            writer.write_table(pa.Table.from_arrays(columns, schema=arrow_schema))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ShardFile(path.name, samples.num_rows, path.stat().st_size, digest)


def _layer_columns(
    cohort: PreparedCohort, layer: PreparedLayer, start: int, num_rows: int, dtype: DType
) -> tuple[pa.Array, pa.Array]:
    """Values and scale of one layer for ``num_rows`` samples; null where not measured."""
    low, high = np.searchsorted(layer.rows, [start, start + num_rows])
    places = layer.rows[low:high]
    with np.errstate(over="ignore"):
        values = layer.values[low:high].astype(dtype, copy=False)
    if np.isinf(values).any():
        raise ShardError(_infinite(cohort, layer, low, values, dtype))
    absent = np.ones(num_rows, dtype=np.bool_)
    absent[places - start] = False
    scale = np.zeros(num_rows, dtype=np.float32)
    scale[~absent] = layer.scale[low:high]
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
    cohort: PreparedCohort, layer: PreparedLayer, low: int, values: NDArray[Any], dtype: DType
) -> str:
    row, column = np.argwhere(np.isinf(values))[0]
    return (
        f"layer '{layer.name}', sample '{cohort.sample_ids[layer.rows[low + row]]}', feature "
        f"'{layer.features[column]}': found {layer.values[low + row, column]}, expected a value "
        f"that {dtype} can hold; check the table it came from, or store float32."
    )


def _patterns(cohort: PreparedCohort) -> tuple[Pattern, ...]:
    names = list(cohort.layers)
    tables, counts = np.unique(cohort.measured(), axis=0, return_counts=True)
    patterns = (
        Pattern(tuple(name for name, held in zip(names, row, strict=True) if held), int(count))
        for row, count in zip(tables, counts, strict=True)
    )
    return tuple(sorted(patterns, key=lambda pattern: (-pattern.samples, pattern.layers)))


def _counts(split: NDArray[np.str_]) -> dict[str, int]:
    names, counts = np.unique(split, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
