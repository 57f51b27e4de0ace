"""Opening a folder of shards: footers and small columns are read and checked, values are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.manifest import Manifest, ShardFile, read_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.shards import layout, schema
from immo_hpc.data.shards.check import (
    REMEDY,
    UNREADABLE,
    content_problems,
    damaged_place,
    repeated_samples,
    shard_size_problem,
)
from immo_hpc.data.stream.index import RowGroup, ShardIndex, StoredLayer
from immo_hpc.errors import ShardError


def open_shards(folder: Path, generation: int | None = None) -> ShardIndex:
    """Open a folder of shards without reading its values.

    Sizes, row counts, schema, identities and the counts of the manifest are checked here;
    the values of a row group are checked when they are first read.

    Args:
        folder: Folder of shards.
        generation: The set as it was before it grew (`Manifest.generation`), as long as that
            is kept; None for the set as it is.

    Raises:
        ShardError: If the manifest or a shard is missing, truncated, of another cohort or of
            another format version, or a column about the samples is damaged.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, generation)
    tables: list[pa.Table] = []
    groups: list[RowGroup] = []
    first = 0
    for entry in manifest.shards:
        table, metadata = _read_small(folder / entry.name, manifest, entry)
        groups += _row_groups(folder / entry.name, manifest, table, metadata, first)
        tables.append(table)
        first += table.num_rows
    uids = [table.column("sample_uid").to_numpy() for table in tables]
    if repeated := repeated_samples(folder, manifest, uids):
        raise ShardError(repeated)
    table = pa.concat_tables(tables)
    return ShardIndex(
        folder=folder,
        manifest=manifest,
        preparation=Preparation.from_dict(dict(manifest.preparation)),
        samples=schema.samples_from_arrow(table, manifest.columns),
        sample_uid=np.concatenate(uids),
        split=_split(folder, table.column("split"), manifest),
        layers={name: _layer(folder, manifest, name, table) for name in manifest.features},
        groups=tuple(groups),
    )


def _read_small(
    path: Path, manifest: Manifest, entry: ShardFile
) -> tuple[pa.Table, pq.FileMetaData]:
    """The columns of a shard that are not values, and its footer."""
    names = [*schema.identity_fields(), *map(schema.sample_column, manifest.columns)]
    names += map(schema.scale_column, manifest.features)
    if problem := shard_size_problem(path, entry):
        raise ShardError(problem)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as shard:
            if problem := next(content_problems(path, manifest, entry, shard), None):
                raise ShardError(problem)
            return shard.read(columns=names, use_threads=False), shard.metadata
    except ShardError:
        raise
    except UNREADABLE as error:
        where = damaged_place(path, manifest)
        message = f"{path}{where}: cannot be read ({error}). {REMEDY}"
        raise ShardError(message) from error


def _row_groups(
    path: Path, manifest: Manifest, table: pa.Table, metadata: pq.FileMetaData, first: int
) -> Iterator[RowGroup]:
    item_bytes = np.dtype(manifest.dtype).itemsize
    if not metadata.num_row_groups:
        return
    columns = layout.values_columns(metadata, manifest.features)
    start = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        part = table.slice(start, group.num_rows)
        num_rows, chunks = {}, {}
        for layer, features in manifest.features.items():
            scale = part.column(schema.scale_column(layer))
            num_rows[layer] = len(scale) - scale.null_count
            value_bytes = num_rows[layer] * len(features) * item_bytes
            chunks[layer] = layout.values_chunk(group, columns[layer], value_bytes)
        yield RowGroup(path, number, first + start, group.num_rows, num_rows, chunks)
        start += group.num_rows


def _layer(folder: Path, manifest: Manifest, name: str, table: pa.Table) -> StoredLayer:
    column = table.column(schema.scale_column(name))
    measured = column.is_valid().to_numpy()
    expected, found = manifest.num_measured(name), int(measured.sum())
    if found != expected:
        message = (
            f"{folder}: the manifest counts {expected} samples with layer '{name}', the shards "
            f"hold {found}. Prepare the cohort again."
        )
        raise ShardError(message)
    scale = column.to_numpy()[measured].astype(np.float32, copy=False)
    rows = np.flatnonzero(measured).astype(np.int64)
    return StoredLayer(name, manifest.features[name], rows, scale)


def _split(folder: Path, column: pa.ChunkedArray, manifest: Manifest) -> NDArray[np.str_] | None:
    if not manifest.splits:
        return None
    sides: Sequence[str | None] = column.to_pylist()
    if None in sides:
        message = (
            f"{folder}: column 'split' is null for {column.null_count} samples, the manifest "
            f"says {dict(manifest.splits)}. Prepare the cohort again."
        )
        raise ShardError(message)
    return np.array(sides, dtype=np.str_)
