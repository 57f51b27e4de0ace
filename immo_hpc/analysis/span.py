"""The directions that rows of a table take: all that a linear model with a ridge can use.

The weights of such a model are a combination of the rows it was fitted to. So a table of few rows
and many features may be turned, once, into as many coordinates as it has rows, and every fold
and every setting fitted there, with the same answer. Only where rows and features are both many is
something left out, the directions of least variance.

Legend of shapes: ``row``, ``feature``, ``direction``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]

# Up to this many rows, or features, nothing is left out.
_EXACT = 2048
# Directions kept where both are more.
_MOST = 512
_OVERSAMPLED = 16
_POWER_STEPS = 2
# Directions of less than this share of the largest singular value are rounding.
_LEAST = 1e-6
_CHUNK = 16_000_000  # Values held at once in float64: 128 MB.


@dataclass(frozen=True)
class Span:
    """A basis of the rows of a table.

    Attributes:
        basis: Orthonormal directions, ``(feature, direction)``, float32; None where the features
            themselves are the fewer.
    """

    basis: Table | None

    def coordinates(self, x: Table) -> NDArray[np.float64]:
        """Rows of ``x`` (row, feature) along the directions, ``(row, direction)``, float64."""
        if self.basis is None:
            return x.astype(np.float64)
        parts = [part @ self.basis for part in _chunks(x)]
        return np.concatenate([np.empty((0, self.basis.shape[1])), *parts])

    def to_features(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of the features, ``(feature, column)``, from those of the directions."""
        return weight if self.basis is None else self.basis @ weight


def span_of(x: Table, seed: int) -> Span:
    """The basis of the rows of ``x``.

    Time grows as rows x features x the smaller of both; where both exceed 2048 as rows x
    features x 2600. Memory beyond ``x``: as many values as the smaller side squared, or rows x
    528, and a chunk of ``x`` in float64.

    Args:
        x: ``(row, feature)``, no NaN; z-scores, not centred again.
        seed: Seed of the random directions that are looked at where both sides are large.

    Example:
        >>> span = span_of(np.ones((2, 9), np.float32), seed=0)
        >>> np.abs(span.coordinates(np.ones((1, 9), np.float32))).round(3).tolist()
        [[3.0]]
    """
    num_rows, num_features = x.shape
    if not num_rows or num_features <= min(num_rows, _EXACT):
        return Span(None)
    if num_rows <= _EXACT:
        gram = sum((part @ part.T for part in _column_chunks(x)), np.zeros((num_rows, num_rows)))
        values, vectors = np.linalg.eigh(gram)
        held = values > _LEAST**2 * max(values[-1], 1e-300)
        basis = x.T @ (vectors[:, held] / np.sqrt(values[held])).astype(np.float32)
        return Span(np.ascontiguousarray(basis))
    return Span(_leading(x, seed))


def leading_components(
    x: NDArray[np.floating[Any]], chosen: NDArray[np.bool_], number: int, seed: int
) -> NDArray[np.float64]:
    """Rows along the directions in which the chosen ones vary most, ``(row, component)``.

    Args:
        x: ``(row, feature)``, no NaN.
        chosen: Rows that the mean and the directions are taken from, ``(row,)``.
        number: Most components.
        seed: As for `span_of`.
    """
    table = (x - x[chosen].mean(axis=0)).astype(np.float32)
    z = span_of(table[chosen], seed).coordinates(table)
    spread = np.einsum("rd,rd->d", z[chosen], z[chosen])
    return np.asarray(z[:, np.argsort(-spread, kind="stable")[:number]])


def _leading(x: Table, seed: int) -> Table:
    """The directions of most variance, by a randomised range finder (Halko et al. 2011)."""
    generator = np.random.default_rng(seed)
    basis = generator.normal(size=(x.shape[1], _MOST + _OVERSAMPLED))
    for _ in range(_POWER_STEPS + 1):
        basis = np.linalg.qr(_square(x, basis))[0]
    _, vectors = np.linalg.eigh(basis.T @ _square(x, basis))
    return np.asarray(basis @ vectors[:, ::-1][:, :_MOST], dtype=np.float32)


def _square(x: Table, basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """``x.T @ x @ basis`` without a copy of ``x``."""
    total = np.zeros(basis.shape)
    for part in _chunks(x):
        total += part.T @ (part @ basis)
    return total


def _chunks(x: Table) -> Iterator[NDArray[np.float64]]:
    step = max(1, _CHUNK // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        yield x[start : start + step].astype(np.float64)


def _column_chunks(x: Table) -> Iterator[NDArray[np.float64]]:
    step = max(1, _CHUNK // max(1, len(x)))
    for start in range(0, x.shape[1], step):
        yield x[:, start : start + step].astype(np.float64)
