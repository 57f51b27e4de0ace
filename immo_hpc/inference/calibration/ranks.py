"""The rank rules of conformal prediction, for values that come in groups.

People are the unit here: visits of one person are alike, and somebody with twenty visits shall
not decide more than somebody with two. So each value weighs one over the number of values of its
person. A rule says what a new value of a new person stays below with a stated probability.

Legend of shapes: ``value`` counts what was measured on people held out for calibration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Sums of weights are rounded; a rank that is met to this share counts as met.
_ROUNDING = 1e-9


def person_weights(subjects: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weight of each value, ``(value,)``: persons weigh alike, all together 1.

    Args:
        subjects: Person of each value, ``(value,)``.

    Example:
        >>> person_weights(np.array(["a", "a", "b"])).tolist()
        [0.25, 0.25, 0.5]
    """
    _, place, count = np.unique(subjects, return_inverse=True, return_counts=True)
    return 1 / (count[place] * max(len(count), 1))


def upper_limits(
    values: NDArray[np.floating[Any]],
    weights: NDArray[np.float64],
    tails: NDArray[np.float64],
    num_units: float,
) -> NDArray[np.float64]:
    """What new values exceed with a probability of at most ``tail``, for each tail.

    The smallest value up to which the weights reach ``(1 - tail) (1 + 1 / num_units)``: with equal
    weights and ``num_units`` values this is the value of rank ``ceil((1 - tail) (n + 1))``, which
    holds exactly for exchangeable values, however they are distributed (Vovk et al. 2005). With
    weights of persons and their number it holds for a value drawn from a new person (Lee, Barber
    and Willett 2023).

    Args:
        values: ``(value,)``, no NaN.
        weights: ``(value,)``, at least 0, summing to 1.
        tails: Probabilities in (0, 1), ``(tail,)``.
        num_units: How many exchangeable units the values stand for; infinite: no correction.

    Returns:
        ``(tail,)``, infinite where there are too few units for the tail.

    Example:
        >>> nine = np.arange(1.0, 10.0)
        >>> upper_limits(nine, np.full(9, 1 / 9), np.array([0.5, 0.1, 0.05]), 9).tolist()
        [5.0, 9.0, inf]
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = (1 - tails) * (1 + 1 / num_units) - _ROUNDING
    ascending = np.append(np.asarray(values, dtype=np.float64)[order], np.inf)
    place = np.searchsorted(reached, wanted)
    return np.asarray(ascending[place])


def effective_units(beyond: NDArray[np.bool_], person: NDArray[np.str_]) -> float:
    """How many independent values the values are worth when a share of them is estimated.

    Values of one person are alike, so a share is known less well than from as many values of
    as many people: by the spread of the people's own shares about their mean (design effect).

    Args:
        beyond: True for the values that make up the share, ``(value,)``.
        person: Person of each value, ``(value,)``.

    Returns:
        Between the number of people and the number of values.

    Example:
        >>> two = np.array(["ann", "ann", "bob", "bob"])
        >>> effective_units(np.array([True, False, False, True]), two)
        4.0
        >>> effective_units(np.array([True, True, False, False]), two)
        2.0
    """
    _, place, count = np.unique(person, return_inverse=True, return_counts=True)
    share = np.bincount(place, beyond) / count
    num_people = len(share)
    if num_people < 2:
        return float(num_people)
    mean = share.mean()
    variance = max(share.var(ddof=1) / num_people, np.finfo(np.float64).tiny)
    return float(np.clip(mean * (1 - mean) / variance, num_people, len(beyond)))


def column_limits(
    table: NDArray[np.floating[Any]],
    weights: NDArray[np.float64],
    tails: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What a share ``tail`` of the weight of each column exceeds, without any correction.

    Args:
        table: ``(row, column)``, NaN = unknown.
        weights: Weight of each row, ``(row,)``.
        tails: Shares in (0, 1), ``(tail,)``.

    Returns:
        ``(tail, column)``, NaN for columns of which nothing is known.

    Example:
        >>> column_limits(np.array([[3.0], [1.0], [2.0]]), np.ones(3), np.array([0.4])).tolist()
        [[2.0]]
    """
    order = np.argsort(table, axis=0, kind="stable")
    ascending = np.take_along_axis(table, order, axis=0).astype(np.float64)
    own = np.where(np.isnan(ascending), 0.0, weights[order])
    reached = np.cumsum(own, axis=0)
    total = reached[-1] if len(reached) else np.zeros(table.shape[1])
    limits = np.full((len(tails), table.shape[1]), np.nan)
    known = total > 0
    for place, tail in enumerate(tails):
        row = (reached[:, known] >= (1 - tail - _ROUNDING) * total[known]).argmax(axis=0)
        limits[place, known] = np.take_along_axis(ascending[:, known], row[None], axis=0)[0]
    return limits


def tail_shares(
    values: NDArray[np.floating[Any]],
    weights: NDArray[np.float64],
    new: NDArray[np.floating[Any]],
) -> NDArray[np.float64]:
    """P-value of each new value: how much of the calibration is at least as large.

    The new value counts as one of them: of ``n`` values none gives a p-value below
    ``1 / (n + 1)``. With equal weights this is the conformal p-value.

    Args:
        values: ``(value,)``, no NaN, increasing.
        weights: ``(value,)``, at least 0, summing to 1.
        new: ``(new,)``.

    Returns:
        ``(new,)``, in (0, 1].

    Example:
        >>> calm = np.arange(1.0, 10.0)
        >>> tail_shares(calm, np.full(9, 1 / 9), np.array([10.0, 9.0, 0.0])).round(3).tolist()
        [0.1, 0.2, 1.0]
    """
    beyond = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
    share = beyond[np.searchsorted(values, new, side="left")]
    return np.asarray((1 + len(values) * share) / (1 + len(values)))
