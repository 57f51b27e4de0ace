"""Stored z-scores in numbers, by layer, feature and side; a row group in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.manifest import Manifest
from immo_hpc.data.shards import schema
from immo_hpc.data.shards.check import REMEDY, UNREADABLE, length_problems, shard_size_problem
from immo_hpc.data.shards.columns import layer_values
from immo_hpc.errors import ShardError

ALL_SIDES = "all"
# A block of this many values is turned to float64 at a time: 16 MiB.
_BLOCK_VALUES = 2**21


class FeatureStatistics:
    """Count, mean, spread and range of each feature, of rows given bit by bit.

    Attributes:
        count: Measured values, ``(feature,)``, int64.
        mean: Their mean, ``(feature,)``, float64; 0 where none.
        low: Smallest value, ``(feature,)``, float64; infinite where none.
        high: Largest value, ``(feature,)``, float64; minus infinite where none.
    """

    def __init__(self, num_features: int) -> None:
        self.count = np.zeros(num_features, dtype=np.int64)
        self.mean = np.zeros(num_features)
        self._squares = np.zeros(num_features)
        self.low = np.full(num_features, np.inf)
        self.high = np.full(num_features, -np.inf)

    @property
    def sd(self) -> NDArray[np.float64]:
        """Standard deviation (divisor n), ``(feature,)``; NaN where nothing was measured."""
        counted = np.where(self.count > 0, self.count, np.nan)
        return np.asarray(np.sqrt(self._squares / counted))

    def add(self, values: NDArray[np.floating]) -> None:
        """Take rows, ``(row, feature)``, NaN = missing."""
        step = max(1, _BLOCK_VALUES // max(1, values.shape[1]))
        for start in range(0, len(values), step):
            self._add(values[start : start + step].astype(np.float64))

    def _add(self, block: NDArray[np.float64]) -> None:
        measured = ~np.isnan(block)
        count = measured.sum(axis=0)
        mean = np.where(measured, block, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(measured, block - mean, 0.0)
        # Two sets of rows as one (Chan, Golub & LeVeque 1979).
        total = np.maximum(self.count + count, 1)
        apart = mean - self.mean
        self._squares += np.square(squares).sum(axis=0) + apart**2 * self.count * count / total
        self.mean = self.mean + apart * count / total
        self.count += count
        self.low = np.minimum(self.low, np.where(measured, block, np.inf).min(axis=0))
        self.high = np.maximum(self.high, np.where(measured, block, -np.inf).max(axis=0))


def parts(
    folder: Path, manifest: Manifest, layers: list[str], others: list[str]
) -> Iterator[tuple[int, pa.Table]]:
    """The named layers' values and other columns, row group by row group.

    Yields:
        Place of the first row in the set, and the columns of a row group.

    Raises:
        ShardError: If a shard cannot be read or decoded; pages are checked against their CRC.
    """
    columns = [*others, *map(schema.values_column, layers)]
    kept = {layer: manifest.features[layer] for layer in layers}
    start = 0
    for entry in manifest.shards:
        path = folder / entry.name
        if problem := shard_size_problem(path, entry):
            raise ShardError(problem)
        group = 0
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as shard:
                for group in range(shard.num_row_groups):
                    table = shard.read_row_group(group, columns=columns)
                    if problem := next(length_problems(path, kept, group, table), None):
                        raise ShardError(problem)
                    yield start, table
                    start += table.num_rows
        except ShardError:
            raise
        except (*UNREADABLE, KeyError) as error:
            message = f"{path}, row group {group}: cannot be decoded ({error}). {REMEDY}"
            raise ShardError(message) from error


def set_statistics(folder: Path, manifest: Manifest) -> pd.DataFrame:
    """Statistics of every feature, over all samples and by side of the split.

    Returns:
        One row a layer, feature and side, with ``measured`` (values), ``mean``, ``sd`` (divisor
        n), ``min`` and ``max`` in z-score units, NaN where nothing was measured.

    Raises:
        ShardError: As `parts`.
    """
    sides = [ALL_SIDES, *manifest.splits]
    found = {
        (layer, side): FeatureStatistics(len(features))
        for layer, features in manifest.features.items()
        for side in sides
    }
    for _, table in parts(folder, manifest, list(manifest.features), ["split"]):
        split = np.array(table.column("split").to_pylist(), dtype=object)
        for layer, features in manifest.features.items():
            measured, values = layer_values(table, layer, len(features))
            found[layer, ALL_SIDES].add(values)
            for side in manifest.splits:
                found[layer, side].add(values[split[measured] == side])
    return pd.concat(
        [
            _frame(layer, manifest.features[layer], side, statistics)
            for (layer, side), statistics in found.items()
        ],
        ignore_index=True,
    )


def _frame(
    layer: str, features: tuple[str, ...], side: str, found: FeatureStatistics
) -> pd.DataFrame:
    any_measured = found.count > 0
    return pd.DataFrame(
        {
            "layer": layer,
            "feature": features,
            "side": side,
            "measured": found.count,
            "mean": np.where(any_measured, found.mean, np.nan),
            "sd": found.sd,
            "min": np.where(any_measured, found.low, np.nan),
            "max": np.where(any_measured, found.high, np.nan),
        }
    )
