"""Ridge regression, linear and with a kernel, as an imputer: the baseline to beat.

Everything is solved in the eigenbasis of the samples' Gram matrix, so that one
decomposition serves every penalty and the cost follows samples, not features squared.

Legend of shapes: ``row`` counts training samples, ``item`` samples to predict, ``input``
and ``target`` features, ``penalty`` the penalties tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.floating[Any]]

Kernel = Literal["linear", "rbf"]

# Penalties in units of an input row's mean squared length.
_PENALTIES = np.logspace(-2, 3, 11)
# Penalties of the RBF kernel, whose values lie between 0 and 1.
_RBF_PENALTIES = np.logspace(-1.5, 2, 8)


@dataclass(frozen=True)
class _Basis:
    """Eigenvectors ``(row, row)`` and eigenvalues ``(row,)`` of the kernel; the penalties."""

    vectors: NDArray[np.float64]
    values: NDArray[np.float64]
    penalties: NDArray[np.float64]


def predict_layer(
    x: Table,
    y: Table,
    tuning: tuple[Table, Table],
    new_x: Table,
    kernel: Kernel = "linear",
) -> Table:
    """Foretell a layer from the others by one ridge regression per feature, one penalty.

    Args:
        x: Inputs in training, ``(row, input)``, z-scores, missing = 0.
        y: Targets in training, ``(row, target)``, z-scores, missing = 0 (their mean).
        tuning: Inputs and targets, NaN = missing, of other subjects; the penalty with the
            smallest error on them is taken.
        new_x: Inputs to predict from, ``(item, input)``, missing = 0.
        kernel: 'rbf' for ``exp(-|a - b|^2 / (2 s))``, s the mean squared length of a
            centred training row.

    Returns:
        Predictions, ``(item, target)``, float64, z-score units.
    """
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - x_mean
    length = _squared_length(centred)

    def gram(at: Table) -> Table:
        if kernel == "linear":
            return np.asarray(at @ centred.T)
        square = (at**2).sum(axis=1)[:, None] + (centred**2).sum(axis=1) - 2 * (at @ centred.T)
        return np.asarray(np.exp(-np.maximum(square, 0) / (2 * length)))

    penalties = _PENALTIES * length if kernel == "linear" else _RBF_PENALTIES
    basis = _basis(gram(centred), penalties)
    projected = basis.vectors.T @ (y - y_mean)

    def predictions(at: Table) -> Iterator[Table]:
        cross = gram(at - x_mean) @ basis.vectors
        for penalty in basis.penalties:
            yield y_mean + cross @ (projected / (basis.values + penalty)[:, None])

    return _with_best_penalty(predictions(tuning[0]), tuning[1], predictions(new_x))


def predict_values(x: Table, tuning: tuple[Table, Table], new_x: Table) -> Table:
    """Foretell each feature from all the others by ridge regression, one penalty for all.

    Ridge regression of feature j on the others has the coefficients ``-P[k, j] / P[j, j]``
    with ``P = (x' x + penalty)^-1``, so one inverse gives the regressions of all features.

    Args:
        x: Features in training, ``(row, input)``, z-scores, missing = 0.
        tuning: Features of other subjects with hidden values set to 0, and the hidden
            values, NaN elsewhere, both ``(item, input)``; the penalty with the smallest
            error on them is taken.
        new_x: Features with hidden values set to 0, ``(item, input)``.

    Returns:
        What the other features say about each, ``(item, input)``, float64, z-score units;
        meaningful only where ``new_x`` hides the value (is 0).
    """
    basis = _basis(x @ x.T, _PENALTIES * _squared_length(x))
    # Coordinates of the features in the basis: x = vectors @ rotated.
    rotated = basis.vectors.T @ x

    def predictions(at: Table) -> Iterator[Table]:
        cross = at @ rotated.T
        for penalty in basis.penalties:
            shrunk = 1 / (basis.values + penalty)
            diagonal = 1 - (rotated**2 * shrunk[:, None]).sum(axis=0)  # penalty * P[j, j]
            away = at - (cross * shrunk) @ rotated  # penalty * (at @ P)
            yield -away / np.maximum(diagonal, 1e-12)

    return _with_best_penalty(predictions(tuning[0]), tuning[1], predictions(new_x))


def _basis(gram: Table, penalties: NDArray[np.float64]) -> _Basis:
    values, vectors = np.linalg.eigh(np.asarray(gram, dtype=np.float64))
    return _Basis(vectors, np.maximum(values, 0), penalties)


def _squared_length(x: Table) -> float:
    """Mean squared length of a row."""
    return max(float((x.astype(np.float64) ** 2).sum(axis=1).mean()), 1e-12)


def _with_best_penalty(tried: Iterator[Table], truth: Table, candidates: Iterator[Table]) -> Table:
    errors = [float(np.nansum((predicted - truth) ** 2)) for predicted in tried]
    # Nobody to ask: the middle penalty, rather than the first for a sum of nothing.
    best = int(np.argmin(errors)) if np.isfinite(truth).any() else len(errors) // 2
    return next(itertools.islice(candidates, best, None))
