"""What is learnt from training rows, as statistics of chunks that are merged in their order.

A statistic is a dictionary of arrays, so that it can be a file. Minima, counts and lists of one
number a row merge exactly; means and sums of squares merge by the update of Chan, Golub &
LeVeque (1979), whose error does not grow with the offset of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Statistics = Mapping[str, NDArray[Any]]
Merge = Callable[[Statistics, Statistics], Statistics]


def merged(parts: Iterable[Statistics], merge: Merge) -> Statistics:
    """All parts merged from the first to the last; there is one at least."""
    return reduce(merge, parts)


def moments(values: NDArray[np.float64]) -> Statistics:
    """Count, mean and sum of squared deviations of the measured values of each feature.

    Args:
        values: ``(row, feature)``, NaN = missing.

    Returns:
        ``count``, ``mean`` and ``m2``, each ``(feature,)``, float64; 0 where none is measured.

    Example:
        >>> found = moments(np.array([[1.0, np.nan], [3.0, np.nan]]))
        >>> found["count"].tolist(), found["mean"].tolist(), found["m2"].tolist()
        ([2.0, 0.0], [2.0, 0.0], [2.0, 0.0])
    """
    found = means(values)
    residual = values - found["mean"]
    residual[np.isnan(residual)] = 0.0
    return {**found, "m2": np.square(residual, out=residual).sum(axis=0)}


def means(values: NDArray[np.float64]) -> Statistics:
    """As `moments`, without ``m2``."""
    measured = ~np.isnan(values)
    count = np.count_nonzero(measured, axis=0).astype(np.float64)
    total = np.where(measured, values, 0.0).sum(axis=0)
    return {"count": count, "mean": total / np.maximum(count, 1.0)}


def merge_means(one: Statistics, other: Statistics) -> Statistics:
    """Count and mean, and ``m2`` where both have it, of two sets of rows as one.

    Example:
        >>> parts = [moments(np.array([[1.0]])), moments(np.array([[2.0], [6.0]]))]
        >>> {name: part.tolist() for name, part in merged(parts, merge_means).items()}
        {'count': [3.0], 'mean': [3.0], 'm2': [14.0]}
    """
    count = one["count"] + other["count"]
    share = other["count"] / np.maximum(count, 1.0)
    delta = other["mean"] - one["mean"]
    both = {"count": count, "mean": one["mean"] + delta * share}
    if "m2" in one:
        both["m2"] = one["m2"] + other["m2"] + delta * delta * one["count"] * share
    return both


def merge_lists(one: Statistics, other: Statistics) -> Statistics:
    """Arrays of one entry a row, one after the other."""
    return {name: np.concatenate([one[name], other[name]]) for name in one}


def merge_smallest(one: Statistics, other: Statistics) -> Statistics:
    """The smaller of each entry."""
    return {name: np.minimum(one[name], other[name]) for name in one}


def merge_counts(one: Statistics, other: Statistics) -> Statistics:
    """The sum of each entry; exact for whole numbers."""
    return {name: one[name] + other[name] for name in one}


def merge_by(rules: Mapping[str, Merge]) -> Merge:
    """Merge several statistics in one: each rule takes the entries that begin with its name.

    Example:
        >>> merge = merge_by({"least.": merge_smallest, "rows.": merge_counts})
        >>> one, other = ({"least.x": np.array(n), "rows.x": np.array(n)} for n in (2, 3))
        >>> {name: int(value) for name, value in merge(one, other).items()}
        {'least.x': 2, 'rows.x': 5}
    """

    def merge(one: Statistics, other: Statistics) -> Statistics:
        both: dict[str, NDArray[Any]] = {}
        for name, rule in rules.items():
            both |= prefixed(name, rule(part(one, name), part(other, name)))
        return both

    return merge


def prefixed(name: str, statistics: Statistics) -> dict[str, NDArray[Any]]:
    """The statistics with ``name`` before each entry's."""
    return {name + entry: value for entry, value in statistics.items()}


def part(statistics: Statistics, name: str) -> dict[str, NDArray[Any]]:
    """The entries that begin with ``name``, without it."""
    return {
        entry.removeprefix(name): value
        for entry, value in statistics.items()
        if entry.startswith(name)
    }
