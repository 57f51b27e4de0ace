"""How far a sample is from those a model knows, seen from its measured layers alone.

Each layer is looked at by itself: the few directions in which training samples vary most, and
what is left beside them, each relative to its variance in training samples. So a layer is far
if its values are large (wrong units), or if features that go together do not (exchanged columns,
another batch). A sample is as far as its farthest layer, and that is ranked among the people the
calibration saw.

Legend of shapes: ``row`` counts samples that have a layer, ``feature`` the layer's features,
``known`` the samples that distances are ranked among.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import people
from immo_hpc.inference.calibration.ranks import person_weights, tail_shares

# Of p-values: whoever is below is far. So many samples of new people are, by mistake.
FAR_BELOW = 0.01
_MOST_DIRECTIONS = 20
_ROWS_A_DIRECTION = 5
_FEATURES_A_DIRECTION = 3
_LEAST_VARIANCE = 1e-3
_LEAST = 1e-9
# Of distances within a layer: known samples that all lie alike shall not make all others far.
_LEAST_WIDTH = 0.05
# Of training people, each ranked by its distance from the others.
_NUM_FOLDS = 5
# Training samples that directions are learnt from.
_MOST_ROWS = 1000


@dataclass(frozen=True)
class LayerShape:
    """How training samples vary in one layer.

    Attributes:
        directions: Directions of largest variance, ``(feature, direction)``, float32, of length 1.
        variance: Variance along each, ``(direction,)``, float32.
        rest: Variance of each feature beside them, ``(feature,)``, float32.
        middle: Median of the log distances of known samples.
        width: Their median distance from it, times 1.4826.
    """

    directions: NDArray[np.float32]
    variance: NDArray[np.float32]
    rest: NDArray[np.float32]
    middle: float = 0.0
    width: float = 1.0

    def log_distance(self, z: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log of the mean squared distance by measured feature, ``(row,)``.

        Args:
            z: ``(row, feature)``, z-score units, NaN = missing; a value at least in each row.
        """
        measured = ~np.isnan(z)
        filled = np.where(measured, z, 0.0)
        along = filled @ self.directions
        beside = np.where(measured, filled - along @ self.directions.T, 0.0)
        squared = (along**2 / self.variance).sum(axis=1) + (beside**2 / self.rest).sum(axis=1)
        return np.asarray(
            np.log(squared / np.maximum(measured.sum(axis=1), 1) + _LEAST), dtype=np.float64
        )


@dataclass(frozen=True)
class Distance:
    """Distances of samples, ranked.

    Attributes:
        layers: Shape by layer.
        known: Distances of the known samples, increasing, ``(known,)``, float64.
        weights: Their weights, persons alike, summing to 1, ``(known,)``, float64.
    """

    layers: Mapping[str, LayerShape]
    known: NDArray[np.float64]
    weights: NDArray[np.float64]

    def table(self, cohort: PreparedCohort) -> pd.DataFrame:
        """Distance of every sample.

        Args:
            cohort: Prepared samples.

        Returns:
            Index ``sample_id``; columns ``distance`` (of the farthest layer, in widths of the
            distribution of known samples), ``layer`` (which one), ``p_value`` (share of the
            known that are at least as far) and ``is_far`` (p-value below `FAR_BELOW`).
        """
        by_layer = self.by_layer(cohort)
        farthest = by_layer.argmax(axis=1)
        distance = by_layer[np.arange(len(by_layer)), farthest]
        p_value = tail_shares(self.known, self.weights, distance)
        return pd.DataFrame(
            {
                "distance": distance,
                "layer": np.array(list(self.layers), dtype=object)[farthest],
                "p_value": p_value,
                "is_far": p_value < FAR_BELOW,
            },
            index=pd.Index(cohort.sample_ids, name="sample_id"),
        )

    def by_layer(self, cohort: PreparedCohort) -> NDArray[np.float64]:
        """Distance of each layer of every sample, ``(sample, layer)``; -inf where not measured."""
        result = np.full((len(cohort.samples), len(self.layers)), -np.inf)
        for place, (name, shape) in enumerate(self.layers.items()):
            layer = cohort.layers[name]
            result[layer.rows, place] = _standard(shape, layer.values)
        return result

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays by name."""
        arrays: dict[str, NDArray[Any]] = {"known": self.known, "weights": self.weights}
        for name, shape in self.layers.items():
            arrays |= {f"{name}/{part}": np.asarray(value) for part, value in vars(shape).items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], layers: Sequence[str]) -> Self:
        """What `to_arrays` gave.

        Raises:
            KeyError: If an array is missing.
        """
        shapes = {}
        for name in layers:
            directions, variance, rest, middle, width = (
                arrays[f"{name}/{item.name}"] for item in fields(LayerShape)
            )
            shapes[name] = LayerShape(directions, variance, rest, middle.item(), width.item())
        return cls(shapes, arrays["known"], arrays["weights"])


def fit_distance(train: PreparedCohort, held_out: PreparedCohort) -> Distance:
    """Learn distances from training samples, and rank them among all that are known.

    A training sample is ranked by its distance from the other training people, so that it does
    not lie near by having been there.

    Args:
        train: Samples that the model was trained on; how they vary is what is near.
        held_out: Samples of other people.
    """
    person = [people(part.samples, part.roles) for part in (train, held_out)]
    fold = np.unique(person[0], return_inverse=True)[1].ravel() % _NUM_FOLDS
    shapes, logs = {}, []
    for name, layer in train.layers.items():
        shape = _fit_shape(layer.values)
        own = _from_others(layer.values, fold[layer.rows])
        beside = shape.log_distance(held_out.layers[name].values)
        found = np.concatenate([own, beside])
        found = found[np.isfinite(found)]
        if len(found):
            middle = float(np.median(found))
            width = 1.4826 * float(np.median(np.abs(found - middle)))
            shape = replace(shape, middle=middle, width=max(width, _LEAST_WIDTH))
        shapes[name] = shape
        logs.append((layer.rows, own, held_out.layers[name].rows, beside))
    num_train, num_known = len(train.samples), len(train.samples) + len(held_out.samples)
    farthest = np.full(num_known, -np.inf)
    for shape, (rows, own, other_rows, beside) in zip(shapes.values(), logs, strict=True):
        places = np.concatenate([rows, num_train + other_rows])
        distance = (np.concatenate([own, beside]) - shape.middle) / shape.width
        np.maximum.at(farthest, places, np.nan_to_num(distance, nan=-np.inf))
    known = np.isfinite(farthest)
    order = np.argsort(farthest[known], kind="stable")
    weights = person_weights(np.concatenate(person)[known])
    return Distance(shapes, farthest[known][order], weights[order])


def _from_others(z: NDArray[np.float32], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log distance of each row from rows of other folds, ``(row,)``; NaN where there are none."""
    logs = np.full(len(z), np.nan)
    for number in np.unique(fold):
        mine = fold == number
        if not mine.all():
            logs[mine] = _fit_shape(z[~mine]).log_distance(z[mine])
    return logs


def _fit_shape(z: NDArray[np.float32]) -> LayerShape:
    num_features = z.shape[1]
    # Evenly over all rows, since samples of one person or site lie together.
    z = z[:: max(1, -(-len(z) // _MOST_ROWS))]
    filled = np.nan_to_num(z).astype(np.float64)
    most = (_MOST_DIRECTIONS, len(z) // _ROWS_A_DIRECTION, num_features // _FEATURES_A_DIRECTION)
    top = slice(None, -min(most) - 1, -1)
    # By way of the smaller of the two products.
    if num_features <= len(z):
        directions = np.linalg.eigh(filled.T @ filled)[1][:, top]
    else:
        values, vectors = np.linalg.eigh(filled @ filled.T)
        directions = filled.T @ (vectors[:, top] / np.sqrt(np.maximum(values[top], _LEAST)))
    along = filled @ directions
    beside = np.where(np.isnan(z), 0.0, filled - along @ directions.T)
    count = np.maximum((~np.isnan(z)).sum(axis=0), 1)
    return LayerShape(
        directions.astype(np.float32),
        np.maximum((along**2).sum(axis=0) / max(len(z), 1), _LEAST_VARIANCE).astype(np.float32),
        np.maximum((beside**2).sum(axis=0) / count, _LEAST_VARIANCE).astype(np.float32),
    )


def _standard(shape: LayerShape, z: NDArray[np.float32]) -> NDArray[np.float64]:
    return (shape.log_distance(z) - shape.middle) / shape.width
