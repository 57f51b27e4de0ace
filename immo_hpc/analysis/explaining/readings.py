"""What an expert on a layer adds to the log-odds: linear in z-scores, or in ranks.

Legend of shapes: ``row`` counts samples that have a layer; ``column`` as in
`immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.experts import VIEWS, Expert
from immo_hpc.analysis.explaining.explained import Array
from immo_hpc.analysis.explaining.latent import Baseline
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.labels import LabelledSamples
from immo_hpc.analysis.product import Product
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer


@dataclass(frozen=True)
class Reading:
    """One layer's part of the log-odds.

    Attributes:
        view: Key of `VIEWS`: what is read.
        columns: Places of the features that are read, ``(feature,)``; the others of the layer
            were measured in nobody.
        weight: Log-odds of one unit of that, ``(feature, column)``.
        offset: Log-odds where everything read is 0, ``(column,)``.
        origin: What is read at the baseline, ``(feature,)``.
    """

    view: str
    columns: NDArray[np.int64]
    weight: Array
    offset: Array
    origin: Array

    def log_odds(self, values: NDArray[np.float32]) -> Array:
        """What samples' values, NaN = missing, add, ``(row, column)``."""
        return np.asarray(self._read(values) @ self.weight + self.offset, dtype=np.float64)

    def attributions(self, values: NDArray[np.float32], column: NDArray[np.int64]) -> Array:
        """``weight * (reading - origin)`` for the given column of each row, as ``values``.

        A missing z-score is 0 in both and gets nothing; a missing value has a rank, the lowest.
        """
        moved = self._read(values) - self.origin
        if self.view == "values":
            moved = np.where(np.isnan(values[:, self.columns]), 0, moved)
        found = np.zeros(values.shape)
        found[:, self.columns] = moved * self.weight.T[column]
        return found

    def change(self, values: NDArray[np.float32], feature: int, other: NDArray[Any]) -> Array:
        """What other values of a feature, ``(repeat, row)``, change, ``(repeat, row, column)``."""
        place = np.flatnonzero(self.columns == feature)
        if not len(place):
            return np.zeros((*other.shape, self.weight.shape[1]))
        if self.view == "values":
            moved = np.nan_to_num(other) - np.nan_to_num(values[:, feature])
            return np.asarray(moved[..., None] * self.weight[place[0]])
        before, changed = self.log_odds(values), values.copy()
        after = []
        for repeat in other:
            changed[:, feature] = repeat
            after.append(self.log_odds(changed) - before)
        return np.stack(after)

    def _read(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return VIEWS[self.view](values[:, self.columns])


def measured_columns(layer: PreparedLayer) -> NDArray[np.int64]:
    """Places of the features that any row has a value of, ``(feature,)``."""
    return np.flatnonzero(~np.isnan(layer.values).all(axis=0)).astype(np.int64)


def measured_features(cohort: PreparedCohort) -> PreparedCohort:
    """The cohort without features that nobody has, and without layers of such alone.

    Missing values rank lowest, so a feature that is missing everywhere would still have a rank.
    """
    layers = {}
    for name, layer in cohort.layers.items():
        columns = measured_columns(layer)
        if len(columns):
            names = tuple(layer.features[place] for place in columns)
            layers[name] = replace(layer, features=names, values=layer.values[:, columns])
    return replace(cohort, layers=layers)


def read_by(
    name: str,
    experts: Mapping[str, Expert],
    product: Product,
    cohort: PreparedCohort,
    data: LabelledSamples,
    fit: NDArray[np.int64],
    seed: int,
    baseline: Baseline | None,
) -> Reading:
    """The reading of one layer's expert, fitted to the samples ``fit``.

    Args:
        name: The layer.
        experts: All experts, in the product's order.
        product: How they are added up.
        cohort: The training cohort.
        data: Its labelled samples, with the labels to learn.
        fit: Places among them to fit to.
        seed: As for `Expert.fitted`.
        baseline: Z-scores of the baseline by layer; None for all 0.
    """
    place, expert = list(experts).index(name), experts[name]
    linear = expert.fitted(data, fit, seed)
    factor = product.weight[place] / product.scale[place]
    return Reading(
        expert.view,
        columns := measured_columns(cohort.layers[name]),
        linear.weight * factor,
        factor * (linear.intercept - product.centre[place]),
        _origin(name, expert.view, cohort, data, baseline)[columns],
    )


def _origin(
    name: str,
    view: str,
    cohort: PreparedCohort,
    data: LabelledSamples,
    baseline: Baseline | None,
) -> Array:
    """The baseline as it is read: ranks have no zero, so it is their mean over the same people."""
    layer = cohort.layers[name]
    if view == "values":
        zero = np.zeros(len(layer.features))
        return zero if baseline is None else np.asarray(baseline[name], dtype=np.float64)
    of_class = data.training if baseline is None else data.training & (data.y == 0)
    held = np.isin(layer.rows, data.index[of_class])
    if not held.any():
        return np.zeros(len(layer.features))
    owner, origin = owners(cohort)[layer.rows[held]], np.zeros(len(layer.features))
    columns = measured_columns(layer)
    ranks = VIEWS[view](layer.values[np.ix_(held, columns)])
    origin[columns] = person_means(ranks, owner)[1].mean(axis=0)
    return origin
