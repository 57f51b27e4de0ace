"""How alike two samples are where a hidden layer is foretold from others.

The covariance of two samples ``a`` and ``b`` is the mean over `VIEWS` of

    exp(-|w (a - b)| / (2 s)),

with the sum of absolute differences or the Euclidean length for ``|.|``, s the mean (or root
mean square) of ``|w a|`` over the training samples, and one weight a feature, ``w = r^(g / 2)``.
Its relevance r is the squared correlation with the hidden layer's features, averaged over
these; g says how much that counts. Sums of absolute differences forgive samples that differ
much in a few features. Several views together are as good as the best of them, which differs
from layer to layer (docs/notes/imputation.md).

Legend of shapes: ``row`` counts training samples, ``item`` samples they are compared with,
``source`` the features of one source layer, ``feature`` those of the hidden layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion.differences import absolute_differences

# Features of the hidden layer, evenly spaced, that relevance is measured by.
_MOST_FEATURES = 1000
# Features of a source whose absolute differences are summed: the most relevant ones. Such sums
# are no matrix product, and take several times as long.
_MOST_SUMMED = 2000
# Features at once, so that a copy in float64 stays small.
_CHUNK = 2048

Table = NDArray[np.float32]
Square = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One way to compare samples.

    Attributes:
        power: 1 sums absolute differences, 2 squared ones.
        sharpness: Exponent of a feature's relevance; 0 takes all features alike.
    """

    power: int
    sharpness: float


VIEWS = (View(1, 1.0), View(1, 3.0), View(2, 0.0), View(2, 2.0))


@dataclass(frozen=True)
class Source:
    """The training samples' values of one source layer, weighted for each view.

    Attributes:
        tables: One a view, ``(row, source)``, 0 where nothing was measured.
        weights: One a view, ``(source,)``.
        chosen: One a view: features looked at, ``(source,)``.
    """

    tables: tuple[Table, ...]
    weights: tuple[Table, ...]
    chosen: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, rows: Table, relevance: NDArray[np.float64]) -> Source:
        """Weigh the features of ``rows``, ``(row, source)``, by their relevance."""
        order = np.argsort(-relevance, kind="stable")
        chosen, weights = [], []
        for view in VIEWS:
            most = _MOST_SUMMED if view.power == 1 else len(order)
            chosen.append(np.sort(order[:most]))
            weights.append((relevance ** (view.sharpness / 2)).astype(np.float32)[chosen[-1]])
        tables = [rows[:, at] * weight for at, weight in zip(chosen, weights, strict=True)]
        return cls(tuple(tables), tuple(weights), tuple(chosen))

    def compared(self, items: Table | None = None) -> list[Square]:
        """Sums over features of (absolute or squared) differences, one ``(item, row)`` a view.

        Args:
            items: ``(item, source)``; None: the training samples themselves.
        """
        result = []
        for number, view in enumerate(VIEWS):
            rows = self.tables[number]
            if items is None:
                result.append(_differences(rows, rows, view.power))
                np.fill_diagonal(result[-1], 0.0)
            else:
                mine = items[:, self.chosen[number]] * self.weights[number]
                result.append(_differences(mine, rows, view.power))
        return result

    def lengths(self, used: NDArray[np.int64]) -> list[float]:
        """Mean over the rows ``used`` of the sum of (absolute or squared) values, one a view."""
        return [
            float((np.abs(table[used].astype(np.float64)) ** view.power).sum() / max(len(used), 1))
            for table, view in zip(self.tables, VIEWS, strict=True)
        ]


def relevance(x: Table, y: NDArray[np.floating]) -> NDArray[np.float64]:
    """Squared correlation of each source feature with a hidden layer's, averaged over these.

    Args:
        x: Training samples that have both layers, ``(row, source)``, 0 where missing.
        y: The hidden layer of the same samples, ``(row, feature)``, 0 where missing.

    Returns:
        ``(source,)``, in [0, 1]; 0 for features that are constant.

    Example:
        >>> y = np.array([[-1.0], [0.0], [1.0]])
        >>> relevance(np.array([[1, 1], [2, 1], [3, 1]], dtype=np.float32), y).round(6).tolist()
        [1.0, 0.0]
    """
    y = y[:, :: max(1, -(-y.shape[1] // _MOST_FEATURES))]
    if not y.size:
        return np.zeros(x.shape[1])
    correlation = _standard(x).T @ _standard(y) / len(x)
    return np.asarray((correlation**2).mean(axis=1))


def covariance(compared: Sequence[Square], lengths: Sequence[float]) -> Square:
    """The mean over views, ``(item, row)``, from differences and lengths summed over sources."""
    total = np.zeros_like(compared[0])
    for view, difference, length in zip(VIEWS, compared, lengths, strict=True):
        ratio = difference / max(length, 1e-300)
        total += np.exp(-(ratio if view.power == 1 else np.sqrt(ratio)) / 2)
    return total / len(VIEWS)


def _standard(table: NDArray[np.floating]) -> NDArray[np.float64]:
    """Columns with mean 0 and variance 1; those that are constant are 0."""
    table = table.astype(np.float64) - table.mean(axis=0, dtype=np.float64)
    spread = table.std(axis=0)
    return np.asarray(table / np.where(spread > 1e-9, spread, np.inf))


def _differences(a: Table, b: Table, power: int) -> Square:
    """Sums over features of the absolute or squared differences of the rows of two tables."""
    if power == 1:
        return absolute_differences(a, b).astype(np.float64)
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], _CHUNK):
        x, y = (table[:, start : start + _CHUNK].astype(np.float64) for table in (a, b))
        total += (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2.0 * (x @ y.T)
    return np.maximum(total, 0.0)
