"""What a person's other visits foretell if it is known when they were.

The visits of a person are taken as a random level of the person, a part that drifts, and
noise: of one feature, in z-scores, two visits `d` days apart have the covariance

    LEVEL + DRIFT * exp(-d / SCALE_DAYS),

and each visit the variance 1. What the others foretell of a visit is the best linear
prediction under it (kriging; Rasmussen and Williams 2006, equations 2.25 and 5.12). Visits at
one moment, or at times that are not known, foretell their sum over their number and 1, which
is what is said where a cohort has no times (ADR 29).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL, DRIFT, SCALE_DAYS = 0.3, 0.2, 180.0
# Of more visits, those far off in time say nothing that the near ones do not.
MOST_VISITS = 128
_BLOCK_VALUES = 4 << 20  # Of the matrices of weights that are in memory at once.

Table = NDArray[np.float64]


def near_in_time(subject: NDArray[np.int64], days: Table) -> list[NDArray[np.int64]]:
    """Samples that foretell each other: those of one person, in stretches of `MOST_VISITS`.

    Args:
        subject: Number of each sample's person, ``(sample,)``.
        days: When each was taken, ``(sample,)``, NaN where unknown.

    Returns:
        Places of samples, at least two each, increasing.

    Example:
        >>> near_in_time(np.array([0, 1, 0]), np.array([3.0, 1.0, 2.0]))
        [array([0, 2])]
    """
    order = np.lexsort((np.arange(len(days)), days, subject))
    ends = np.flatnonzero(np.diff(subject[order])) + 1
    return [
        np.sort(part)
        for samples in np.split(order, ends)
        for part in np.array_split(samples, max(1, -(-len(samples) // MOST_VISITS)))
        if len(part) > 1
    ]


def of_others(values: Table, days: Table) -> Table:
    """What the other samples of a person foretell of each.

    Args:
        values: Measured values, ``(sample, feature)``, z-scores, NaN where missing.
        days: When each sample was taken, ``(sample,)``, NaN where unknown: such a sample
            counts as taken in the middle of the others.

    Returns:
        ``(sample, feature)``, z-scores; NaN where no other sample has a value. A value of a
        sample does not enter its own row.

    Example:
        >>> values = np.array([[1.0], [3.0], [np.nan]])
        >>> of_others(values, np.full(3, np.nan)).ravel().round(6).tolist()
        [1.5, 0.5, 1.333333]
    """
    number, num_features = values.shape
    is_known = np.isfinite(values)
    known = np.where(is_known, values, 0)
    covariance = _covariance(days)
    # Features that are missing at the same visits share their weights.
    patterns, which = np.unique(is_known, axis=1, return_inverse=True)
    by_pattern = np.argsort(which.ravel(), kind="stable")
    features = np.split(by_pattern, np.cumsum(np.bincount(which.ravel()))[:-1])
    result = np.full((number, num_features), np.nan)
    step = max(1, _BLOCK_VALUES // number**2)
    for start in range(0, patterns.shape[1], step):
        shown = patterns[:, start : start + step].T
        weights = _weights(covariance, shown)
        for own, weight, columns in zip(
            shown, weights, features[start : start + step], strict=True
        ):
            is_told = own.sum() - own > 0
            result[np.ix_(is_told, columns)] = weight[is_told] @ known[:, columns]
    return result


def _covariance(days: Table) -> Table:
    """Of the samples' values without noise, ``(sample, sample)``."""
    is_unknown = np.isnan(days)
    middle = 0.0 if is_unknown.all() else float(np.median(days[~is_unknown]))
    days = np.where(is_unknown, middle, days)
    return LEVEL + DRIFT * np.exp(-np.abs(days[:, None] - days) / SCALE_DAYS)


def _weights(covariance: Table, shown: NDArray[np.bool_]) -> Table:
    """Weights of the shown samples in what is said of each, ``(pattern, sample, sample)``.

    Args:
        covariance: ``(sample, sample)``, without noise.
        shown: Which samples say anything, ``(pattern, sample)``.
    """
    number = len(covariance)
    both = shown[:, :, None] & shown[:, None, :]
    kernel = np.where(both, covariance, 0.0)
    kernel[:, range(number), range(number)] = 1.0  # Noise makes up the rest of the variance.
    inverse = np.linalg.inv(kernel)
    diagonal = inverse[:, range(number), range(number)]
    # Of a sample that is shown, by the rest (leave one out); of another, by all shown.
    left_out = -inverse / diagonal[:, :, None]
    left_out[:, range(number), range(number)] = 0.0
    others = (covariance * shown[:, None, :]) @ inverse
    return np.where(shown[:, :, None], left_out, others) * shown[:, None, :]
