"""Single missing values: the conditional mean of a Gaussian over all features of all layers.

The covariance of the features is ``Z' Z + penalty I``, with one row of ``Z`` for each training
sample that has the layer asked for (about the mean, where missing values are put), which is ridge
regression of every feature on all the others at once. Of a sample with the values ``x`` on
the features ``O`` about the mean, a missing feature ``j`` is ``Z_j' a`` above its own, with

    (Z_O Z_O' + penalty I) a = Z_O x

for any ``O`` whatever: no set of missing values needs a model of its own. The systems of all
samples are solved side by side by conjugate gradients in the eigenbasis of ``Z Z'``, in
which they are nearly diagonal as long as most features are there.

Legend of shapes: ``row`` counts training samples, ``item`` samples to complete, ``input`` all
features of all layers, ``feature`` those of the layer asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion.layers import BLOCK, values_at
from immo_hpc.data.prepared import PreparedCohort

_MOST_STEPS = 60
_TOLERANCE = 1e-5

Table = NDArray[np.float32]


@dataclass(frozen=True)
class ValueSetting:
    """How single values are foretold.

    Attributes:
        penalty: In units of the mean squared length of a training row.
        others: Scale of the values of other layers beside the layer's own.
        carried: Share of what other visits say that is taken from each value first, where
            samples come with other visits (`immo_hpc.companion.carried`).
    """

    penalty: float
    others: float = 1.0
    carried: float = 1.0


@dataclass(frozen=True)
class ValueRegression:
    """The regressions of one layer's features, fitted.

    Attributes:
        name: Layer asked for.
        sources: Layers side by side, and the scale of each.
        centre: Mean of every input over the training rows, ``(input,)``, as scaled.
        rotated: Training rows in the eigenbasis of their Gram matrix, ``(row, input)``.
        eigenvalues: Of the Gram matrix, ``(row,)``.
        penalty: Added to each of them.
        own: Where the layer stands among the inputs.
    """

    name: str
    sources: dict[str, float]
    centre: Table
    rotated: Table
    eigenvalues: NDArray[np.float64]
    penalty: float
    own: slice

    def foretell(self, cohort: PreparedCohort, places: NDArray[np.int64]) -> Table:
        """What the measured values of the samples at ``places`` say about the layer's.

        Returns:
            ``(item, feature)``, float32, z-scores; of a measured value nearly itself.
        """
        result = np.tile(self.mean, (len(places), 1))
        for start in range(0, len(places), BLOCK):
            x = inputs_at(cohort, self.sources, places[start : start + BLOCK]) - self.centre
            is_there = np.isfinite(x)
            coefficients = self._solve(np.where(is_there, x, 0), is_there)
            result[start : start + BLOCK] += coefficients @ self.rotated[:, self.own]
        return result

    def regressed(self, cohort: PreparedCohort, places: NDArray[np.int64]) -> Table:
        """As `foretell`, but with all else that is missing at its mean.

        Regression of feature j on all others has the coefficients ``-P[k, j] / P[j, j]`` with P
        the inverse of the covariance: one product serves all samples, which is enough to
        compare settings by.
        """
        x = np.nan_to_num(inputs_at(cohort, self.sources, places) - self.centre)
        shrunk = (1 / (self.eigenvalues + self.penalty)).astype(np.float32)
        own = self.rotated[:, self.own]
        away = x[:, self.own] - ((x @ self.rotated.T) * shrunk) @ own
        diagonal = np.maximum(1 - (own**2 * shrunk[:, None]).sum(axis=0), 1e-6)
        return np.asarray(self.mean - away / diagonal)

    def times(self, factor: float) -> ValueRegression:
        """The same with ``factor`` times the penalty."""
        return replace(self, penalty=factor * self.penalty)

    @property
    def mean(self) -> Table:
        """Mean of the layer over the training samples, ``(feature,)``, z-scores."""
        return self.centre[self.own]

    def _solve(self, x: Table, is_there: NDArray[np.bool_]) -> Table:
        """Coefficients of the training rows, ``(item, row)``, by conjugate gradients."""
        mask = is_there.astype(np.float32)
        share = np.einsum("ij,j->i", mask, (self.rotated**2).sum(axis=0)) / max(
            float((self.rotated**2).sum()), 1e-12
        )
        scale = (self.penalty + share[:, None] * self.eigenvalues).astype(np.float32)
        a = np.zeros((len(x), len(self.rotated)), dtype=np.float32)
        rest = x @ self.rotated.T
        first = np.maximum((rest**2 / scale).sum(axis=1, dtype=np.float64), 1e-30)
        along = solved = rest / scale
        inner = (rest * solved).sum(axis=1, dtype=np.float64)
        for _ in range(_MOST_STEPS):
            if not (inner > _TOLERANCE**2 * first).any():
                break
            image = np.float32(self.penalty) * along
            image += ((along @ self.rotated) * mask) @ self.rotated.T
            curve = (along * image).sum(axis=1, dtype=np.float64)
            # An item that has converged moves no more, whatever the others still need.
            going = (inner > _TOLERANCE**2 * first) & (curve > 0)
            step = np.where(going, inner / np.where(curve > 0, curve, 1), 0).astype(np.float32)
            a += step[:, None] * along
            rest = rest - step[:, None] * image
            solved = rest / scale
            after = (rest * solved).sum(axis=1, dtype=np.float64)
            turn = np.where(going, after / np.maximum(inner, 1e-300), 0).astype(np.float32)
            along = solved + turn[:, None] * along
            inner = np.where(going, after, 0)
        return a


def fit_values(reference: PreparedCohort, name: str, setting: ValueSetting) -> ValueRegression:
    """Fit the regressions of a layer's features to the training samples that have it."""
    places = reference.layers[name].rows
    sources = {other: 1.0 if other == name else setting.others for other in reference.layers}
    x = inputs_at(reference, sources, places)
    count = np.isfinite(x).sum(axis=0)
    total = np.nansum(x, axis=0, dtype=np.float64)
    centre = (total / np.maximum(count, 1)).astype(np.float32)
    z = np.nan_to_num(x - centre)
    gram = (z @ z.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    rotated = (vectors.T @ z).astype(np.float32)
    penalty = max(setting.penalty * float(np.trace(gram)) / max(len(z), 1), 1e-6)
    return ValueRegression(
        name,
        sources,
        centre,
        rotated,
        np.maximum(values, 0),
        penalty,
        _place(reference, sources, name),
    )


def inputs_at(
    cohort: PreparedCohort, sources: Mapping[str, float], places: NDArray[np.int64]
) -> Table:
    """Layers side by side, each times its scale, ``(item, input)``, NaN where not measured."""
    blocks = [
        np.float32(scale) * values_at(cohort, name, places) for name, scale in sources.items()
    ]
    return np.concatenate(blocks, axis=1)


def _place(reference: PreparedCohort, sources: dict[str, float], name: str) -> slice:
    start = 0
    for other in sources:
        stop = start + len(reference.layers[other].features)
        if other == name:
            return slice(start, stop)
        start = stop
    message = f"layer '{name}' is not among {', '.join(sources)}."
    raise ValueError(message)
