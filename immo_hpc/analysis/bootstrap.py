"""Area under the ROC curve, and its bootstrap over subjects.

A resample draws as many subjects of each class as there are, with replacement; it is held
as the number of times each subject was drawn, so that one sort of the scores serves all
resamples and two methods are compared on the very same draws (paired).

Legend of shapes: ``item`` is what is ranked (a sample, or a subject), ``resample`` counts
the draws, ``column`` the classes that are scored: one column, of class 1, if there are two
classes, else one a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.results import Interval

_CHUNK = 4_000_000  # Values held at once: 32 MB of float64.
_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Ranked:
    """Scored items, and the subject each belongs to.

    Attributes:
        scores: ``(item, column)``, float64, any monotone scale.
        y: Class codes, ``(item,)``, int64.
        subject: Place of the item's subject among the resampled, ``(item,)``, int64.
    """

    scores: NDArray[np.float64]
    y: NDArray[np.int64]
    subject: NDArray[np.int64]

    def tasks(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """Score and truth of each one-against-rest question that has both answers."""
        num_columns = self.scores.shape[1]
        for column in range(num_columns):
            is_positive = self.y == (1 if num_columns == 1 else column)
            if is_positive.any() and not is_positive.all():
                yield self.scores[:, column], is_positive


def by_subject(ranked: Ranked) -> Ranked:
    """Average scores within each subject (and label, where a subject carries several).

    Example:
        >>> two = Ranked(np.array([[0.0], [1.0], [4.0]]), np.array([0, 0, 1]), np.array([5, 5, 7]))
        >>> by_subject(two).scores.ravel().tolist()
        [0.5, 4.0]
    """
    keys, place = np.unique(
        np.stack([ranked.subject, ranked.y], axis=1), axis=0, return_inverse=True
    )
    place = place.ravel()
    total = np.zeros((len(keys), ranked.scores.shape[1]))
    np.add.at(total, place, ranked.scores)
    return Ranked(total / np.bincount(place)[:, None], keys[:, 1], keys[:, 0])


def auc(
    scores: NDArray[np.float64],
    is_positive: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Chance that a positive item is ranked above a negative one; ties count one half.

    Args:
        scores: ``(item,)``, float64.
        is_positive: ``(item,)``, bool.
        weights: Times each item counts, ``(resample, item)``, float64 >= 0; None = once.

    Returns:
        ``(resample,)``, float64 in [0, 1]; NaN where one class has no weight.

    Example:
        >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True]))
        array([0.875])
    """
    if weights is None:
        weights = np.ones((1, len(scores)))
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    positive = np.add.reduceat((weights * is_positive)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * ~is_positive)[:, order], starts, axis=1)
    below = negative.cumsum(axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return _quotient((positive * below).sum(axis=1), pairs)


def macro_auc(ranked: Ranked, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Mean over classes of one-against-rest AUC; with two classes, the AUC of class 1.

    Args:
        ranked: The scored items.
        weights: As for `auc`.

    Returns:
        ``(resample,)``, float64; classes that a resample lacks are left out of its mean, NaN
        where none is left.
    """
    resamples = 1 if weights is None else len(weights)
    values = [auc(scores, positive, weights) for scores, positive in ranked.tasks()]
    table = np.array(values).reshape(len(values), resamples)
    defined = np.isfinite(table)
    return _quotient(np.where(defined, table, 0).sum(axis=0), defined.sum(axis=0))


def draw_subjects(stratum: NDArray[np.int64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Times each subject is drawn, ``(resample, subject)``, float64.

    Args:
        stratum: Class of each subject, ``(subject,)``; the number drawn from each class is
            the number of its subjects, so that no resample lacks a class.
        num_resamples: Number of resamples.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    drawn = np.zeros((num_resamples, len(stratum)))
    for code in np.unique(stratum):
        members = np.flatnonzero(stratum == code)
        share = np.full(len(members), 1 / len(members))
        drawn[:, members] = generator.multinomial(len(members), share, size=num_resamples)
    return drawn


def resampled_auc(ranked: Ranked, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """`macro_auc` in each resample of subjects, ``(resample,)``, float64."""
    parts = [macro_auc(ranked, part[:, ranked.subject]) for part in _chunks(drawn, ranked)]
    return np.concatenate(parts)


def interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    """``value`` with the 2.5 and 97.5 % quantiles of its finite resamples."""
    finite = resampled[np.isfinite(resampled)]
    if not len(finite):
        return Interval(float(value), float("nan"), float("nan"))
    lower, upper = np.quantile(finite, _QUANTILES)
    return Interval(float(value), float(lower), float(upper))


def roc(
    ranked: Ranked, grid: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """True positive rate at each false positive rate of ``grid``; mean over classes.

    Args:
        ranked: The scored items.
        grid: False positive rates, ``(point,)``, float64, increasing.
        weights: As for `auc`.

    Returns:
        ``(resample, point)``, float64; NaN where a class is absent.
    """
    if weights is None:
        weights = np.ones((1, len(ranked.y)))
    curves = [_roc(scores, positive, weights, grid) for scores, positive in ranked.tasks()]
    return np.asarray(np.mean(curves, axis=0))


def resampled_roc(
    ranked: Ranked, grid: NDArray[np.float64], drawn: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """2.5 and 97.5 % quantiles of the curve over resamples of subjects, each ``(point,)``."""
    parts = [roc(ranked, grid, part[:, ranked.subject]) for part in _chunks(drawn, ranked)]
    curves = np.concatenate(parts)
    curves = curves[np.isfinite(curves).all(axis=1)]
    if not len(curves):
        return np.full(len(grid), np.nan), np.full(len(grid), np.nan)
    lower, upper = np.quantile(curves, _QUANTILES, axis=0)
    return lower, upper


def _roc(
    scores: NDArray[np.float64],
    is_positive: NDArray[np.bool_],
    weights: NDArray[np.float64],
    grid: NDArray[np.float64],
) -> NDArray[np.float64]:
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(-scores[order], prepend=-np.inf) > 0)
    rates = []
    for of_class in (is_positive, ~is_positive):
        count = np.add.reduceat((weights * of_class)[:, order], starts, axis=1).cumsum(axis=1)
        rates.append(np.pad(_quotient(count, count[:, -1:]), ((0, 0), (1, 0))))
    return np.stack([np.interp(grid, fpr, tpr) for tpr, fpr in zip(*rates, strict=True)])


def _quotient(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """``above / below``, NaN where ``below`` is 0."""
    quotient = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _chunks(drawn: NDArray[np.float64], ranked: Ranked) -> Iterator[NDArray[np.float64]]:
    step = max(1, _CHUNK // max(1, len(ranked.y)))
    for start in range(0, len(drawn), step):
        yield drawn[start : start + step]
