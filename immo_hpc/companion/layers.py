"""A hidden layer foretold from the others: Gaussian processes over the training samples.

For each set of source layers that a sample has, the target's features share one process with
the training samples' mean and the covariance of `immo_hpc.companion.likeness` over the values
of these layers. What it leaves open is independent noise. (Noise that the samples of one
person share was tried, and foretold less: docs/notes/imputation.md.)

Legend of shapes: ``row`` counts training samples with the target, ``item`` samples to foretell,
``feature`` the target's features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from immo_hpc.companion.likeness import VIEWS, Source, Square, covariance, relevance
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, is_visits

# Samples foretold at once. Portions of samples are multiples of it.
BLOCK = 1024
# Coefficients kept for the sets of layers met last.
_MOST_PATTERNS = 8

Table = NDArray[np.float32]
Places = NDArray[np.int64]


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
class _Basis:
    """For one set of sources: training samples used, and the length of these in each view."""

    used: Places
    lengths: list[float]


@dataclass
class LayerProcess:
    """Foretells one layer; samples are compared once for each source layer.

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
    _sources: dict[str, Source] = field(default_factory=dict, repr=False)
    _compared: dict[str, list[Table]] = field(default_factory=dict, repr=False)
    _solved: dict[tuple[str, ...], tuple[_Basis, NDArray[np.float64]]] = field(
        default_factory=dict, repr=False
    )

    def __post_init__(self) -> None:
        target = self.reference.layers[self.name]
        self._places = target.rows
        self.mean = mean_of(self.reference, self.name)
        self._y = np.nan_to_num(target.values - self.mean).astype(np.float64)

    def under(self, setting: LayerSetting) -> LayerProcess:
        """The same process under another setting, with the comparisons that are known."""
        return replace(self, setting=setting, _solved={})

    def foretell(self, cohort: PreparedCohort, places: Places) -> Table:
        """The layer of the samples at ``places``, ``(item, feature)``, float32, z-scores."""
        result = np.tile(self.mean, (len(places), 1))
        for mine, sources in self._patterns(cohort, places):
            basis, coefficients = self._solution(sources)
            result[mine] += self._across(cohort, places[mine], sources, basis) @ coefficients
        # Four squares of the training samples a source, of use only to sets of sources not met yet.
        self._compared.clear()
        return result

    def foretell_each(
        self, cohort: PreparedCohort, places: Places, noises: Sequence[float]
    ) -> list[Table]:
        """As `foretell`, once for each variance of the noise."""
        results = [np.tile(self.mean, (len(places), 1)) for _ in noises]
        for mine, sources in self._patterns(cohort, places):
            basis, within = self._basis(sources)
            across = self._across(cohort, places[mine], sources, basis)
            for noise, result in zip(noises, results, strict=True):
                result[mine] += across @ _coefficients(within, self._y[basis.used], noise)
        return results

    def _patterns(
        self, cohort: PreparedCohort, places: Places
    ) -> Iterator[tuple[Places, tuple[str, ...]]]:
        """Items with the same source layers, block by block, and these layers."""
        sources = [name for name in cohort.layers if self._is_source(name)]
        has = np.zeros((len(cohort.samples), len(sources)), dtype=np.bool_)
        for column, name in enumerate(sources):
            has[cohort.layers[name].rows, column] = True
        for start in range(0, len(places) if len(self._places) else 0, BLOCK):
            block = places[start : start + BLOCK]
            patterns, pattern = np.unique(has[block], axis=0, return_inverse=True)
            for number, there in enumerate(patterns):
                chosen = tuple(name for name, is_in in zip(sources, there, strict=True) if is_in)
                if chosen:
                    yield start + np.flatnonzero(pattern.ravel() == number), chosen

    def _is_source(self, name: str) -> bool:
        is_own = name in (self.name, self.name + SUFFIX)
        return not is_own and name in self.reference.layers and self._scale(name) > 0

    def _across(
        self, cohort: PreparedCohort, places: Places, sources: Sequence[str], basis: _Basis
    ) -> Square:
        """Covariance of the samples at ``places`` with the training samples used."""
        compared = [np.zeros((len(places), len(basis.used))) for _ in VIEWS]
        for name in sources:
            found = self._source(name).compared(rows_of(cohort, name, places))
            self._add(compared, name, [table[:, basis.used] for table in found])
        return covariance(compared, basis.lengths)

    def _solution(self, sources: tuple[str, ...]) -> tuple[_Basis, NDArray[np.float64]]:
        if sources not in self._solved:
            while len(self._solved) >= _MOST_PATTERNS:
                del self._solved[next(iter(self._solved))]
            basis, within = self._basis(sources)
            y = self._y[basis.used]
            self._solved[sources] = basis, _coefficients(within, y, self.setting.noise)
        return self._solved[sources]

    def _basis(self, sources: Sequence[str]) -> tuple[_Basis, Square]:
        """The training samples used, and their covariance."""
        has = [np.isin(self._places, self.reference.layers[name].rows) for name in sources]
        # Training samples with none of the sources would all stand at one place.
        used = np.flatnonzero(np.any(has, axis=0))
        compared = [np.zeros((len(used), len(used))) for _ in VIEWS]
        lengths = [0.0 for _ in VIEWS]
        for name in sources:
            if name not in self._compared:
                found = self._source(name).compared()
                self._compared[name] = [table.astype(np.float32) for table in found]
            self._add(compared, name, [table[np.ix_(used, used)] for table in self._compared[name]])
            for number, length in enumerate(self._source(name).lengths(used)):
                lengths[number] += self._scale(name) ** VIEWS[number].power * length
        return _Basis(used, lengths), covariance(compared, lengths)

    def _add(self, compared: list[Square], name: str, found: Sequence[NDArray[Any]]) -> None:
        for view, total, table in zip(VIEWS, compared, found, strict=True):
            total += self._scale(name) ** view.power * table

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            rows = rows_of(self.reference, name, self._places)
            both = np.isin(self._places, self.reference.layers[name].rows)
            self._sources[name] = Source.of(rows, relevance(rows[both], self._y[both]))
        return self._sources[name]

    def _scale(self, name: str) -> float:
        return self.setting.visits if is_visits(name) else 1.0


def _coefficients(within: Square, y: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Of the training samples, ``(row, feature)``."""
    noisy = within.copy()
    noisy[np.diag_indices_from(noisy)] += noise
    factor = cho_factor(noisy, lower=True, overwrite_a=True)
    return np.asarray(cho_solve(factor, y))


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
