"""Fitting the features that join a layer, to the training rows that have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import PreparationConfig
from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.cohort import Layer
from immo_hpc.data.exclude import excluded
from immo_hpc.data.preparation.extended import expressible, extend, smallest_joined
from immo_hpc.data.preparation.filters import is_flat, is_relative, where
from immo_hpc.data.preparation.layer import LayerPreparation
from immo_hpc.data.preparation.statistics import merge_means, merged, moments
from immo_hpc.errors import CohortError

_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Joined:
    """A layer's preparation with what joined it.

    Attributes:
        preparation: The layer's preparation; the old one if nothing passed the filters.
        features: Names of the features that joined.
        dropped: Unknown features that did not, by the filter that removed them.
    """

    preparation: LayerPreparation
    features: tuple[str, ...]
    dropped: Mapping[str, tuple[str, ...]]


def unknown_features(preparation: LayerPreparation, layer: Layer) -> tuple[str, ...]:
    """Features of ``layer`` that the preparation neither has nor dropped when it was fitted."""
    dropped = {name for features in preparation.dropped.values() for name in features}
    known = dropped.union(preparation.features)
    return tuple(name for name in layer.features if name not in known)


def join_features(
    preparation: LayerPreparation, layer: Layer, rows: NDArray[np.int64], config: PreparationConfig
) -> Joined:
    """Let the unknown features of ``layer`` join its preparation.

    Filters count among the rows in which a feature could be expressed: those that have the
    layer and, where only ratios mean something, an old feature above 0.

    Args:
        preparation: The layer as it was fitted; what it holds is kept to the last bit.
        layer: Rows with the new features.
        rows: Those of them that may be learnt from, ``(training row,)``.
        config: Limits of the filters.

    Raises:
        CohortError: If no training row can be learnt from.
    """
    names = unknown_features(preparation, layer)
    if not names:
        return Joined(preparation, (), {})
    counted = _Counted(preparation, len(names))
    for values in _blocks(preparation, layer, rows, names):
        counted.add(values)
    if counted.num_rows == 0:
        message = (
            f"{where(layer)}: {len(names)} features are new ('{names[0]}', ...), but no training "
            "sample among those that are added has them beside features that are known. Add "
            "more samples at once, or leave the new features out (without --add-features)."
        )
        raise CohortError(message)
    unwanted = np.isin(names, excluded(config.exclude, preparation.name, names))
    scarce, rare = (failing & ~unwanted for failing in counted.failing(config))
    passing = ~(scarce | rare | unwanted)
    dropped = {"min_measured": _chosen(names, scarce), "min_prevalence": _chosen(names, rare)}
    if unwanted.any():
        dropped["exclude"] = _chosen(names, unwanted)
    kept, smallest = _chosen(names, passing), counted.smallest[passing]
    num_old = len(preparation.features)
    transform = extend(preparation.transform, num_old, smallest)
    found = merged(
        (
            moments(transform.forward(values)[0][:, num_old:])
            for values in _blocks(preparation, layer, rows, kept)
        ),
        merge_means,
    )
    sd = np.sqrt(found["m2"] / np.maximum(found["count"], 1))
    flat = is_flat(found["mean"], sd, config)
    dropped["min_sd"] = _chosen(kept, flat)
    if flat.all():
        return Joined(preparation, (), dropped)
    joined = _chosen(kept, ~flat)
    grown = replace(
        preparation,
        features=(*preparation.features, *joined),
        mean=np.concatenate([preparation.mean, found["mean"][~flat]]),
        sd=np.concatenate([preparation.sd, sd[~flat]]),
        transform=extend(preparation.transform, num_old, smallest[~flat]),
    )
    return Joined(grown, joined, dropped)


class _Counted:
    """What the filters and limits need to know of features that may join."""

    def __init__(self, preparation: LayerPreparation, num_joined: int) -> None:
        self._preparation = preparation
        self.num_rows = 0
        self._measured = np.zeros(num_joined, dtype=np.int64)
        self._positive = np.zeros(num_joined, dtype=np.int64)
        self.smallest = np.full(num_joined, np.inf)

    def add(self, values: NDArray[np.float64]) -> None:
        """Count rows: old features, then those that may join."""
        transform, num_old = self._preparation.transform, len(self._preparation.features)
        joined = values[expressible(transform, num_old, values)][:, num_old:]
        self.num_rows += len(joined)
        self._measured += np.count_nonzero(~np.isnan(joined), axis=0)
        self._positive += np.count_nonzero(joined > 0, axis=0)
        self.smallest = np.minimum(self.smallest, smallest_joined(transform, num_old, values))

    def failing(self, config: PreparationConfig) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """True where ``min_measured`` and ``min_prevalence`` drop a feature, ``(feature,)``."""
        scarce = self._measured < max(1.0, config.min_measured * self.num_rows)
        rare = np.zeros_like(scarce)
        if is_relative(self._preparation.kind):
            rare = ~scarce & (self._positive < max(1.0, config.min_prevalence * self.num_rows))
        return np.asarray(scarce), rare


def _blocks(
    preparation: LayerPreparation, layer: Layer, rows: NDArray[np.int64], joined: tuple[str, ...]
) -> Iterator[NDArray[np.float64]]:
    """Rows with the old features, by name, and then ``joined``; float64, NaN = missing."""
    place = {name: column for column, name in enumerate(layer.features)}
    wanted = (*preparation.features, *joined)
    columns = np.array([place.get(name, -1) for name in wanted], dtype=np.int64)
    for _, block in row_blocks(layer.values, rows, block_bytes=_BLOCK_BYTES):
        taken = np.take(block, columns, axis=1).astype(np.float64)
        taken[:, columns < 0] = np.nan
        yield taken[~np.isnan(taken).all(axis=1)]


def _chosen(names: tuple[str, ...], mask: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, held in zip(names, mask, strict=True) if held)
