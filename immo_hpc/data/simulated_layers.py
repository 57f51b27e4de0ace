"""How latent factors become the values of a layer, by kind (`immo_hpc.data.simulate`).

Legend of shapes as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind

_PER_FEATURE = 3  # factors that drive one feature
_PERCENT_DETECTED = 0.02
_DISPERSION = 0.15
_MEAN_BELOW_LIMIT = 0.09


@dataclass(frozen=True, eq=False)
class Drive:
    """What all layers of a simulated cohort share.

    Attributes:
        latent: Factors, ``(sample, factor)``.
        subject: Number of each sample's subject, ``(sample,)``.
        site: Number of each sample's site, ``(sample,)``.
        nonlinearity: Share of the signal's variance that is not linear in the factors.
        noise: Standard deviation of the noise, that of the signal being about 1.
        site_effect: Standard deviation of a site's effect on a feature.
    """

    latent: NDArray[np.float64]
    subject: NDArray[np.int64]
    site: NDArray[np.int64]
    nonlinearity: float
    noise: float
    site_effect: float


@dataclass(frozen=True, eq=False)
class SimulatedLayer:
    """A layer for all samples.

    Attributes:
        kind: Kind of the layer.
        features: Names, ``(feature,)``.
        complete: Values with nothing missing, ``(sample, feature)``, float32.
        values: The same, NaN where a value would not have been measured.
    """

    kind: LayerKind
    features: tuple[str, ...]
    complete: NDArray[np.float32]
    values: NDArray[np.float32]


def composition(rng: np.random.Generator, drive: Drive, num_features: int) -> SimulatedLayer:
    """Species in percent; a species a person does not carry, or below detection, is 0."""
    common = rng.normal(0, 2, num_features)
    carried_by = 1 / (1 + np.exp(-(common + 0.5)))
    carried = rng.random((drive.subject.max() + 1, num_features)) < carried_by
    # Nobody is without any species.
    carried[:, np.argmax(common)] = True
    abundance = np.exp(common + _level(rng, drive, num_features)) * carried[drive.subject]
    percent = _percent(abundance)
    percent = _percent(np.where(percent < _PERCENT_DETECTED, 0, percent))
    return _nothing_missing("composition", "species", percent)


def counts(rng: np.random.Generator, drive: Drive, num_features: int) -> SimulatedLayer:
    """Transcripts: negative binomial around a library's share, libraries log-normal."""
    level = rng.normal(0, 1.5, num_features) + _level(rng, drive, num_features)
    library = rng.lognormal(np.log(400 * num_features), 0.5, len(level))
    mean = library[:, None] * _percent(np.exp(level)) / 100
    drawn = rng.poisson(mean * rng.gamma(1 / _DISPERSION, _DISPERSION, mean.shape))
    return _nothing_missing("counts", "transcript", drawn)


def intensities(rng: np.random.Generator, drive: Drive, num_features: int) -> SimulatedLayer:
    """Metabolites: log-normal peak areas, missing below the detection limit of the feature."""
    level = rng.normal(14, 2, num_features) + _level(rng, drive, num_features)
    below = rng.beta(0.6, 0.6 * (1 / _MEAN_BELOW_LIMIT - 1), num_features)
    # Above the share at which a feature would be lost altogether nothing is learnt.
    limit = [
        np.quantile(column, min(share, 0.7)) for column, share in zip(level.T, below, strict=True)
    ]
    complete = np.exp(level).astype(np.float32)
    values = np.where(level < np.array(limit), np.float32(np.nan), complete)
    return SimulatedLayer("intensity", _names("metabolite", num_features), complete, values)


def clinical(rng: np.random.Generator, drive: Drive, num_features: int) -> SimulatedLayer:
    """Laboratory values on scales of their own; 3 % are missing at random."""
    scale = rng.lognormal(0, 1, num_features)
    complete = rng.normal(0, 5, num_features) + scale * _level(rng, drive, num_features)
    values = np.where(rng.random(complete.shape) < 0.03, np.nan, complete)
    return SimulatedLayer(
        "continuous",
        _names("test", num_features),
        complete.astype(np.float32),
        values.astype(np.float32),
    )


def _level(rng: np.random.Generator, drive: Drive, num_features: int) -> NDArray[np.float64]:
    """Signal, site effect and noise of each feature, ``(sample, feature)``, mean about 0."""
    linear = drive.latent @ _loadings(rng, drive.latent.shape[1], num_features)
    # tanh(1.5 x) of a standard normal x has a standard deviation of about 0.7.
    curved = drive.latent @ _loadings(rng, drive.latent.shape[1], num_features)
    curved = np.tanh(1.5 * curved) / 0.7
    share = drive.nonlinearity
    signal = np.sqrt(1 - share) * linear + np.sqrt(share) * curved
    site = rng.normal(0, drive.site_effect, (drive.site.max() + 1, num_features))
    noise = rng.normal(0, drive.noise, signal.shape)
    return np.asarray(signal + site[drive.site] + noise)


def _loadings(rng: np.random.Generator, num_factors: int, num_features: int) -> NDArray[np.float64]:
    """Loadings of unit length, each feature on a few factors, ``(factor, feature)``."""
    rank = np.argsort(rng.random((num_factors, num_features)), axis=0)
    loadings = np.where(rank < _PER_FEATURE, rng.normal(size=rank.shape), 0.0)
    return np.asarray(loadings / np.linalg.norm(loadings, axis=0))


def _percent(abundance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(100 * abundance / abundance.sum(axis=1, keepdims=True))


def _nothing_missing(
    kind: LayerKind, word: str, values: NDArray[np.float64] | NDArray[np.int64]
) -> SimulatedLayer:
    table = values.astype(np.float32)
    return SimulatedLayer(kind, _names(word, table.shape[1]), table, table)


def _names(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}_{number + 1:03}" for number in range(count))
