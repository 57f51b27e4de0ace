"""A hidden layer foretold from the others: Gaussian processes over the training samples.

For each set of source layers that a sample has, the target's features share one process with
the training samples' mean and the covariance ``exp(-|a - b|^2 / (2 s))`` over the values of
these layers, s the mean squared length of a training sample in them. What it leaves open is
independent noise. (Noise that the samples of one person share was tried, and foretold less:
docs/notes/imputation.md.)

Legend of shapes: ``row`` counts training samples with the target, ``item`` samples to foretell,
``feature`` the target's features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, is_visits

# Samples foretold at once. Portions of samples are multiples of it.
BLOCK = 1024
# Coefficients kept for the sets of layers met last.
_MOST_PATTERNS = 8

Table = NDArray[np.float32]


@dataclass(frozen=True)
class LayerSetting:
    """How a layer is foretold.

    Attributes:
        noise: Variance of the noise, in units of that of the process.
        visits: Scale of the values of other visits in distances; 0 leaves them out.
    """

    noise: float
    visits: float = 1.0


@dataclass(frozen=True)
class _Solution:
    """For one set of sources: training samples used, scale of distances, coefficients."""

    used: NDArray[np.int64]
    length: float
    coefficients: NDArray[np.float64]


@dataclass
class LayerProcess:
    """Foretells one layer; distances are computed once for each source layer.

    Args:
        reference: Training samples.
        name: Layer to foretell; its own values and those of its visits are not looked at.
        setting: How.

    Attributes:
        mean: Mean of the layer over the training samples, ``(feature,)``, z-scores.
    """

    reference: PreparedCohort
    name: str
    setting: LayerSetting
    _known: dict[str, Table] = field(default_factory=dict, repr=False)
    _squares: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    _solved: dict[tuple[str, ...], _Solution] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        target = self.reference.layers[self.name]
        self._places = target.rows
        self.mean = mean_of(self.reference, self.name)
        self._y = np.nan_to_num(target.values - self.mean).astype(np.float64)

    def under(self, setting: LayerSetting) -> LayerProcess:
        """The same process under another setting, with the distances that are known."""
        return replace(self, setting=setting, _solved={})

    def foretell(self, cohort: PreparedCohort, places: NDArray[np.int64]) -> Table:
        """The layer of the samples at ``places``, ``(item, feature)``, float32, z-scores."""
        result = np.tile(self.mean, (len(places), 1))
        if not len(self._places):
            return result
        sources = [name for name in cohort.layers if self._is_source(name)]
        has = np.zeros((len(cohort.samples), len(sources)), dtype=np.bool_)
        for column, name in enumerate(sources):
            has[cohort.layers[name].rows, column] = True
        for start in range(0, len(places), BLOCK):
            block = places[start : start + BLOCK]
            patterns, pattern = np.unique(has[block], axis=0, return_inverse=True)
            for number, there in enumerate(patterns):
                chosen = [name for name, is_there in zip(sources, there, strict=True) if is_there]
                mine = np.flatnonzero(pattern.ravel() == number)
                if chosen:
                    result[start + mine] += self._from(cohort, block[mine], chosen)
        return result

    def _is_source(self, name: str) -> bool:
        is_own = name in (self.name, self.name + SUFFIX)
        return not is_own and name in self.reference.layers and self._weight(name) > 0

    def _from(
        self, cohort: PreparedCohort, places: NDArray[np.int64], sources: Sequence[str]
    ) -> NDArray[np.float64]:
        solution = self._solution(tuple(sources))
        square = np.zeros((len(places), len(solution.used)))
        for name in sources:
            item, row = rows_of(cohort, name, places), self._rows(name)[solution.used]
            square += self._weight(name) * _squares(item, row)
        return np.asarray(np.exp(-square / (2 * solution.length)) @ solution.coefficients)

    def _solution(self, sources: tuple[str, ...]) -> _Solution:
        if sources not in self._solved:
            while len(self._solved) >= _MOST_PATTERNS:
                del self._solved[next(iter(self._solved))]
            self._solved[sources] = self._solve(sources)
        return self._solved[sources]

    def _solve(self, sources: Sequence[str]) -> _Solution:
        has = [np.isin(self._places, self.reference.layers[name].rows) for name in sources]
        # Training samples with none of the sources would all stand at one place.
        used = np.flatnonzero(np.any(has, axis=0))
        length, square = 0.0, np.zeros((len(used), len(used)))
        for name in sources:
            row = self._rows(name)
            if name not in self._squares:
                self._squares[name] = _squares(row, row).astype(np.float32)
            square += self._weight(name) * self._squares[name][np.ix_(used, used)]
            length += self._weight(name) * float((row[used].astype(np.float64) ** 2).sum())
        length = max(length / max(len(used), 1), 1e-12)
        noisy = np.exp(-square / (2 * length))
        noisy[np.diag_indices_from(noisy)] += self.setting.noise
        factor = cho_factor(noisy, lower=True, overwrite_a=True)
        return _Solution(used, length, np.asarray(cho_solve(factor, self._y[used])))

    def _rows(self, name: str) -> Table:
        if name not in self._known:
            self._known[name] = rows_of(self.reference, name, self._places)
        return self._known[name]

    def _weight(self, name: str) -> float:
        return self.setting.visits**2 if is_visits(name) else 1.0


def mean_of(cohort: PreparedCohort, name: str) -> Table:
    """Mean of what was measured of a layer, ``(feature,)``, float32; 0 without any."""
    values = cohort.layers[name].values
    count = np.isfinite(values).sum(axis=0)
    total = np.nansum(values, axis=0, dtype=np.float64)
    return np.asarray(total / np.maximum(count, 1), dtype=np.float32)


def values_at(cohort: PreparedCohort, name: str, places: NDArray[np.int64]) -> Table:
    """A layer at ``places``, ``(item, source feature)``, NaN where nothing was measured."""
    layer = cohort.layers[name]
    row = np.full(len(cohort.samples), -1, dtype=np.int64)
    row[layer.rows] = np.arange(len(layer.rows))
    found = row[places]
    values = np.full((len(places), len(layer.features)), np.nan, dtype=np.float32)
    values[found >= 0] = layer.values[found[found >= 0]]
    return values


def rows_of(cohort: PreparedCohort, name: str, places: NDArray[np.int64]) -> Table:
    """As `values_at`, 0 where nothing was measured."""
    return np.nan_to_num(values_at(cohort, name, places))


def _squares(a: Table, b: Table) -> NDArray[np.float64]:
    """Squared distances of the rows of two tables, float64."""
    lengths = [np.einsum("ij,ij->i", x, x, dtype=np.float64) for x in (a, b)]
    square = lengths[0][:, None] + lengths[1] - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(square, 0))
