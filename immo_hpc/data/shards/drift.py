"""How far the features of new samples stand from what training saw.

Measured on new samples of the training side alone: those held out stay unseen. Beside mean and
sd, the shift of each feature is the difference of 20 % trimmed means of new and old training
samples, with the standard error of Yuen (1974). Visits of one person are not independent, so
the variance of each trimmed mean is multiplied by its samples per person: as if all visits of a
person were one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import subjects_of
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.prepared import PreparedLayer
from immo_hpc.data.shards.columns import layer_values
from immo_hpc.data.shards.index import SetIndex
from immo_hpc.data.shards.stats import FeatureStatistics, parts

# A feature has drifted if its shift is beyond both; a layer, if this share of its features has.
STANDARD_ERRORS = 4.0
Z_UNITS = 0.3
LAYER_SHARE = 0.25
_TRIM = 0.2
# Rows that trimmed means are taken from, evenly spread over all: bounds memory.
_MOST_ROWS = 2048
_FEATURES_AT_ONCE = 1024

DRIFT_COLUMNS = ["layer", "feature", "measured", "mean", "sd", "shift", "shift_se"]
DRIFT_COLUMNS += ["below", "above", "drifted"]


class _Rows:
    """Statistics of rows of one layer, and some of the rows themselves."""

    def __init__(self, num_features: int, num_rows: int) -> None:
        self.statistics = FeatureStatistics(num_features)
        self._every = max(1, -(-num_rows // _MOST_ROWS))
        self._kept: list[NDArray[np.float32]] = []
        self._seen = 0
        self.subjects: set[str] = set()

    @property
    def num_rows(self) -> int:
        return self._seen

    def add(self, values: NDArray[Any], subjects: Sequence[str]) -> None:
        """Take rows, ``(row, feature)``, with their subjects."""
        self.statistics.add(values)
        first = -self._seen % self._every
        self._kept.append(values[first :: self._every].astype(np.float32))
        self._seen += len(values)
        self.subjects.update(subjects)

    def trimmed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Trimmed means, ``(feature,)``, and their variances."""
        rows = np.concatenate([*self._kept, np.empty((0, len(self.statistics.count)), np.float32)])
        blocks = range(0, rows.shape[1], _FEATURES_AT_ONCE)
        found = [_trimmed_mean(rows[:, at : at + _FEATURES_AT_ONCE]) for at in blocks]
        means, variances = (np.concatenate(part) for part in zip(*found, strict=True))
        # The rows looked at are fewer than the subjects of a large set: then they are these.
        per_subject = len(rows) / max(1, min(len(rows), len(self.subjects)))
        return means, variances * per_subject


@dataclass(frozen=True)
class Drift:
    """Old training samples to compare with, and the new ones met so far.

    Attributes:
        features: Features that are compared, by layer.
        old: Old training rows, by layer.
        new: New training rows, by layer.
        outside: New values below and above all old ones, ``(2, feature)``, by layer.
    """

    features: Mapping[str, tuple[str, ...]]
    old: Mapping[str, _Rows]
    new: Mapping[str, _Rows]
    outside: Mapping[str, NDArray[np.int64]]

    def add(self, layer: PreparedLayer, rows: NDArray[np.bool_], subjects: NDArray[Any]) -> None:
        """Take the ``rows`` of a prepared layer, True = compare, with the subject of each."""
        if layer.name not in self.features or not rows.any():
            return
        values = layer.values[rows][:, : len(self.features[layer.name])]
        self.new[layer.name].add(values, [str(name) for name in subjects[rows]])
        known = self.old[layer.name].statistics
        # NaN is neither below nor above; rounding to the stored type is not drift.
        slack = 1e-3 * np.maximum(1, np.maximum(abs(known.low), abs(known.high)))
        self.outside[layer.name][0] += (values < known.low - slack).sum(axis=0)
        self.outside[layer.name][1] += (values > known.high + slack).sum(axis=0)

    def table(self) -> pd.DataFrame:
        """One row a feature, columns `DRIFT_COLUMNS`, most drifted first."""
        frames = [self._layer(name) for name in self.features if self.new[name].num_rows]
        if not frames:
            return pd.DataFrame(columns=DRIFT_COLUMNS)
        table = pd.concat(frames, ignore_index=True)
        order = (table["shift"].abs() / table["shift_se"]).fillna(-1.0)
        by = (-order.to_numpy(), ~table["drifted"].to_numpy())
        return table.iloc[np.lexsort(by)].reset_index(drop=True)

    def _layer(self, name: str) -> pd.DataFrame:
        new, old = self.new[name], self.old[name]
        (mean_new, variance_new), (mean_old, variance_old) = new.trimmed(), old.trimmed()
        shift, error = mean_new - mean_old, np.sqrt(variance_new + variance_old)
        found = new.statistics
        counted = np.where(found.count > 0, found.count, np.nan)
        below, above = self.outside[name] / counted
        return pd.DataFrame(
            {
                "layer": name,
                "feature": self.features[name],
                "measured": found.count,
                "mean": np.where(found.count > 0, found.mean, np.nan),
                "sd": found.sd,
                "shift": shift,
                "shift_se": error,
                "below": below,
                "above": above,
                "drifted": (np.abs(shift) > STANDARD_ERRORS * error) & (np.abs(shift) > Z_UNITS),
            }
        )[DRIFT_COLUMNS]


def begin_drift(
    folder: Path, manifest: Manifest, index: SetIndex, new_rows: Mapping[str, int]
) -> Drift:
    """Look at the old training samples of the layers that new samples bring.

    Args:
        folder: Folder of shards.
        manifest: Its manifest.
        index: Its samples.
        new_rows: Most rows that will be added to each layer; layers of the set.

    Raises:
        ShardError: If a shard cannot be read.
    """
    learnt = np.ones(len(index.uid), np.bool_) if index.split is None else index.split == "train"
    subjects = subjects_of(index.samples, manifest.roles).astype(str).to_numpy()
    place = {layer: number for number, layer in enumerate(manifest.features)}
    features = {layer: manifest.features[layer] for layer in new_rows}
    old = {
        layer: _Rows(len(names), int((learnt & index.measured[:, place[layer]]).sum()))
        for layer, names in features.items()
    }
    for start, table in parts(folder, manifest, list(features), []) if features else ():
        here = slice(start, start + table.num_rows)
        for layer, names in features.items():
            measured, values = layer_values(table, layer, len(names))
            chosen = learnt[here][measured]
            old[layer].add(values[chosen], subjects[here][measured][chosen])
    return Drift(
        features,
        old,
        {layer: _Rows(len(names), new_rows[layer]) for layer, names in features.items()},
        {layer: np.zeros((2, len(names)), np.int64) for layer, names in features.items()},
    )


def drift_sentences(drift: Drift, table: pd.DataFrame) -> list[str]:
    """A sentence for every layer that has drifted as a whole."""
    sentences = []
    for layer in drift.features:
        rows = table[table["layer"] == layer]
        drifted = int(rows["drifted"].sum())
        if len(rows) == 0 or drifted < LAYER_SHARE * len(rows):
            continue
        shift = float(rows.loc[rows["drifted"].to_numpy(dtype=bool), "shift"].median())
        sentences.append(
            f"layer '{layer}' has drifted as a whole: {drifted} of {len(rows)} features of "
            f"{drift.new[layer].num_rows} new training samples moved by more than "
            f"{STANDARD_ERRORS:.0f} standard errors and {Z_UNITS} z-score units (median "
            f"{shift:+.2f}). Look for another protocol, unit or batch before training on them."
        )
    return sentences


def _trimmed_mean(rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Trimmed mean of each column and its variance; NaN for fewer than two values left."""
    ordered = np.sort(rows.astype(np.float64), axis=0)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=0)
    cut = np.floor(_TRIM * count).astype(np.int64)
    left = count - 2 * cut
    if not len(ordered):
        return np.full(len(count), np.nan), np.full(len(count), np.nan)
    rank = np.arange(len(ordered))[:, None]
    central = (rank >= cut) & (rank < count - cut)
    low = np.take_along_axis(ordered, np.minimum(cut, len(ordered) - 1)[None], axis=0)
    high = np.take_along_axis(ordered, np.maximum(count - cut - 1, 0)[None], axis=0)
    divisor = np.where(left > 1, left, np.nan)
    mean = np.where(central, ordered, 0.0).sum(axis=0) / divisor
    winsorised = np.where(rank < count, np.clip(ordered, low, high), 0.0)
    centre = winsorised.sum(axis=0) / np.where(count > 0, count, 1)
    squares = np.where(rank < count, (winsorised - centre) ** 2, 0.0).sum(axis=0)
    return mean, squares / (divisor * (divisor - 1))
