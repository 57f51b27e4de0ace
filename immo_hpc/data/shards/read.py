"""Reading a folder of shards back into a prepared cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from immo_hpc.data.manifest import Manifest, read_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import schema
from immo_hpc.data.shards.check import (
    length_problems,
    repeated_samples,
    row_groups,
    shard_problems,
)
from immo_hpc.errors import ShardError


@dataclass(frozen=True)
class ShardSet:
    """A folder of shards in memory.

    Attributes:
        cohort: The samples in the order of the shards, float32 values.
        preparation: What made the values, and gets them back to original units.
        manifest: The folder's manifest.
    """

    cohort: PreparedCohort
    preparation: Preparation
    manifest: Manifest


def read_shards(folder: Path, generation: int | None = None) -> ShardSet:
    """Read and verify a folder of shards; memory follows what was measured.

    Every shard's checksum, schema, row count and identities are checked before its
    values are decoded.

    Args:
        folder: Folder of shards.
        generation: The set as it was before it grew (`Manifest.generation`), as long as that
            is kept; as it is now if None.

    Raises:
        ShardError: If the manifest or a shard is missing, damaged, of another cohort or of
            another format version; the message names shard, row group and column.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, generation)
    layers = {
        name: _LayerRows(name, features, manifest.num_measured(name))
        for name, features in manifest.features.items()
    }
    tables: list[pa.Table] = []
    start = 0
    for entry in manifest.shards:
        if problem := next(shard_problems(folder, manifest, entry), None):
            raise ShardError(problem)
        path = folder / entry.name
        tables.append(_read_shard(path, manifest, list(layers.values()), start))
        start += entry.rows
    uids = [table.column("sample_uid").to_numpy() for table in tables]
    if repeated := repeated_samples(folder, manifest, uids):
        raise ShardError(repeated)
    table = pa.concat_tables(tables)
    cohort = PreparedCohort(
        samples=schema.samples_from_arrow(table, manifest.columns),
        layers={name: layer.complete(folder) for name, layer in layers.items()},
        roles=manifest.roles,
        split=_split(folder, table.column("split"), manifest),
    )
    preparation = Preparation.from_dict(dict(manifest.preparation))
    return ShardSet(cohort, preparation, manifest)


class _LayerRows:
    """The measured rows of one layer, filled row group after row group."""

    def __init__(self, name: str, features: tuple[str, ...], num_rows: int) -> None:
        self._name = name
        self._features = features
        self._values = np.empty((num_rows, len(features)), dtype=np.float32)
        self._rows = np.empty(num_rows, dtype=np.int64)
        self._scale = np.empty(num_rows, dtype=np.float32)
        self._filled = 0

    @property
    def columns(self) -> tuple[str, str]:
        return schema.values_column(self._name), schema.scale_column(self._name)

    def add(self, table: pa.Table, start: int) -> None:
        """Take the measured rows of ``table``, whose first row is the cohort's ``start``."""
        values_column, scale_column = (table.column(name) for name in self.columns)
        measured = values_column.is_valid().to_numpy()
        low, self._filled = self._filled, self._filled + int(measured.sum())
        if self._filled > len(self._rows):
            return  # more than the manifest counts: `complete` tells
        self._rows[low : self._filled] = start + np.flatnonzero(measured)
        self._scale[low : self._filled] = scale_column.to_numpy()[measured]
        for chunk in values_column.chunks:
            # Lists that are null have no values, so the others lie one after the other.
            first, last = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()
            block = chunk.values.to_numpy()[first:last].reshape(-1, len(self._features))
            self._values[low : low + len(block)] = block
            low += len(block)

    def complete(self, folder: Path) -> PreparedLayer:
        """The layer, after all shards were added."""
        if self._filled != len(self._rows):
            message = (
                f"{folder}: the manifest counts {len(self._rows)} samples with layer "
                f"'{self._name}', the shards hold {self._filled}. Prepare the cohort again."
            )
            raise ShardError(message)
        return PreparedLayer(self._name, self._features, self._values, self._rows, self._scale)


def _read_shard(
    path: Path, manifest: Manifest, layers: Sequence[_LayerRows], start: int
) -> pa.Table:
    """Add a shard's rows to ``layers``; give the columns about its samples."""
    others = []
    for group, table in row_groups(path):
        if problem := next(length_problems(path, manifest.features, group, table), None):
            raise ShardError(problem)
        for layer in layers:
            layer.add(table, start)
        others.append(table.drop_columns([name for layer in layers for name in layer.columns]))
        start += table.num_rows
    return pa.concat_tables(others)


def _split(folder: Path, column: pa.ChunkedArray, manifest: Manifest) -> NDArray[np.str_] | None:
    if not manifest.splits:
        return None
    if column.null_count:
        message = (
            f"{folder}: column 'split' is null for {column.null_count} samples, the manifest "
            f"says {dict(manifest.splits)}. Prepare the cohort again."
        )
        raise ShardError(message)
    return np.array(column.to_pylist(), dtype=np.str_)
