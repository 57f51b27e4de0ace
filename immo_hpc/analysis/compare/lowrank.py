"""Low-rank methods: PCA on filled data, and an SVD that fills what is missing as it learns.

Legend of shapes: ``sample``, ``feature`` (all layers side by side), ``component``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from immo_hpc.analysis.compare.contender import Learnt, Table
from immo_hpc.analysis.compare.representation import classified
from immo_hpc.analysis.compare.tuning import Candidate, sides, tuned
from immo_hpc.analysis.hiding import columns
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort

_PCA_RANKS = (3, 10, 30, 110)
_SVD_RANKS = (3, 10, 30)
# The residual of what was learnt from is less than that of new samples.
_NOISE_FACTORS = (1.0, 4.0, 16.0)
_MOST_STEPS = 40
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LinearModel:
    """``x = mean + loadings z + noise``, with ``z`` normal and independent of the noise.

    Attributes:
        mean: ``(feature,)``.
        loadings: ``(feature, component)``.
        precision: Of the components, ``(component,)``: 1 / variance.
        noise: Precision of each feature's noise, ``(feature,)``.
        place: Where each layer stands among the features.
    """

    mean: NDArray[np.float64]
    loadings: NDArray[np.float64]
    precision: NDArray[np.float64]
    noise: NDArray[np.float64]
    place: Mapping[str, slice]

    def components(self, cohort: PreparedCohort) -> Table:
        """Mean of ``z`` given what is measured in each sample, ``(sample, component)``."""
        x = cohort.wide().astype(np.float64) - self.mean
        observed = np.isfinite(x)
        weighted = self.loadings * self.noise[:, None]
        result = np.zeros((len(x), self.loadings.shape[1]))
        for row, (values, there) in enumerate(zip(x, observed, strict=True)):
            own = weighted[there]
            gram = self.loadings[there].T @ own + np.diag(self.precision)
            result[row] = np.linalg.solve(gram, own.T @ values[there])
        return result

    def values(self, cohort: PreparedCohort) -> dict[str, Table]:
        """What the components say about every value."""
        said = self.mean + self.components(cohort) @ self.loadings.T
        return {name: said[:, place] for name, place in self.place.items()}

    def layer(self, cohort: PreparedCohort, name: str) -> Table:
        """One layer of `values`."""
        return self.values(cohort)[name]


@dataclass(frozen=True)
class FilledPca(LinearModel):
    """Principal components of data whose missing values were set to the mean."""

    def components(self, cohort: PreparedCohort) -> Table:
        """Coordinates of the filled samples, ``(sample, component)``."""
        return np.nan_to_num(cohort.wide().astype(np.float64) - self.mean) @ self.loadings


def learn_pca(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """PCA on filled data; ``model.latent_dim`` components for the label, tuned for values."""
    train, tuning = sides(training, config.seed)
    full = _pca(train, max(*_PCA_RANKS, config.model.latent_dim))
    candidates = [
        Candidate(f"{rank} components", model.layer, model.values)
        for rank in _PCA_RANKS
        for model in [_first(full, rank)]
    ]
    latent = _first(_pca(training, config.model.latent_dim), config.model.latent_dim)
    return classified(tuned(candidates, tuning, config.seed)[0], latent.components)


def learn_svd(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """Iterative SVD; rank and shrinkage are tuned, and those for layers serve the label."""
    train, tuning = sides(training, config.seed)
    models = {}
    for rank in _SVD_RANKS:
        model = iterative_svd(train, rank, config.seed)
        for factor in _NOISE_FACTORS:
            name = f"{rank} components, noise x {factor:g}"
            models[name] = replace(model, noise=model.noise / factor)
    candidates = [Candidate(name, model.layer, model.values) for name, model in models.items()]
    learnt, chosen = tuned(candidates, tuning, config.seed)
    return classified(learnt, list(models.values())[chosen].components)


def visible_mean(cohort: PreparedCohort) -> NDArray[np.float64]:
    """Mean of the measured values of each feature, ``(feature,)``; 0 where there is none."""
    x = cohort.wide()
    count = np.isfinite(x).sum(axis=0)
    return np.asarray(np.nansum(x, axis=0, dtype=np.float64) / np.maximum(count, 1))


def iterative_svd(cohort: PreparedCohort, rank: int, seed: int) -> LinearModel:
    """Fill with the mean, then in turn fit a low-rank model and fill with what it says."""
    mean, x = visible_mean(cohort), cohort.wide().astype(np.float64)
    missing = np.isnan(x)
    centred = np.where(missing, 0, x - mean)
    rank = min(rank, *centred.shape)
    residual = float((centred[~missing] ** 2).mean())
    for _ in range(_MOST_STEPS):
        u, s, vt = randomized_svd(centred, rank, n_iter=2, random_state=seed)
        said = (u * s) @ vt
        before = residual
        residual = float(((centred - said)[~missing] ** 2).mean())
        centred[missing] = said[missing]
        if before - residual < _TOLERANCE * before:
            break
    noise = np.full(len(mean), 1 / max(residual, 1e-6))
    precision = len(x) / np.maximum(s, 1e-6) ** 2
    return LinearModel(mean, vt.T, precision, noise, columns(cohort))


def _pca(cohort: PreparedCohort, rank: int) -> FilledPca:
    mean = visible_mean(cohort)
    centred = np.nan_to_num(cohort.wide().astype(np.float64) - mean)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    precision = len(centred) / np.maximum(s, 1e-6) ** 2
    return _first(FilledPca(mean, vt.T, precision, np.ones(len(mean)), columns(cohort)), rank)


def _first(model: FilledPca, rank: int) -> FilledPca:
    return FilledPca(
        model.mean, model.loadings[:, :rank], model.precision[:rank], model.noise, model.place
    )
