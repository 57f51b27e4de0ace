"""A linear classifier of samples in which every subject counts once.

A subject seen twenty times would else weigh as much as twenty subjects, though the label is one.

Legend of shapes: ``row`` (a sample), ``feature``; ``column`` as in `immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]

_CHUNK = 16_000_000  # Values held at once in float64: 128 MB.
# Above this many values the fit runs in float32.
_LARGE = 1 << 26


@dataclass(frozen=True)
class Linear:
    """``scores = x @ weight + intercept``.

    Attributes:
        weight: ``(feature, column)``, float64.
        intercept: ``(column,)``, float64.
    """

    weight: Array
    intercept: Array

    def scores(self, x: NDArray[np.floating[Any]]) -> Array:
        """Scores of the rows of ``x``, ``(row, column)``, float64."""
        scores = np.empty((len(x), len(self.intercept)))
        step = max(1, _CHUNK // max(1, x.shape[1]))
        for start in range(0, len(x), step):
            part = x[start : start + step].astype(np.float64)
            scores[start : start + step] = part @ self.weight + self.intercept
        return scores


def subject_weights(y: NDArray[np.int64], subject: NDArray[np.int64]) -> Array:
    """Weight of each sample: subjects count alike within a class, and classes alike.

    Args:
        y: Class codes, ``(row,)``.
        subject: Subject codes, ``(row,)``; with several labels a subject counts in each class.

    Returns:
        ``(row,)``; the sum is the number of subjects (and labels, where one carries several).

    Example:
        >>> subject_weights(np.array([0, 0, 0, 1]), np.array([5, 5, 6, 7])).tolist()
        [0.375, 0.375, 0.75, 1.5]
    """
    pairs, owner, count = np.unique(
        np.stack([subject, y], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    codes, members = np.unique(pairs[:, 1], return_counts=True)
    of_class = len(pairs) / (len(codes) * members)
    weight = of_class[np.searchsorted(codes, pairs[:, 1])] / count
    return np.asarray(weight[owner.ravel()])


def subject_means(scores: Array, subject: NDArray[np.int64], num_subjects: int) -> Array:
    """Mean over each subject's samples, ``(subject, column)``; NaN where it has none.

    Args:
        scores: ``(sample, column)``; samples whose scores are NaN are left out.
        subject: Subject of each sample, ``(sample,)``, below ``num_subjects``.
        num_subjects: Number of subjects.

    Example:
        >>> subject_means(np.array([[1.0], [3.0], [np.nan]]), np.array([1, 1, 0]), 2).tolist()
        [[nan], [2.0]]
    """
    known = np.isfinite(scores).all(axis=1)
    total = np.zeros((num_subjects, scores.shape[1]))
    np.add.at(total, subject[known], scores[known])
    count = np.bincount(subject[known], minlength=num_subjects)[:, None]
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def fit_linear(
    x: NDArray[np.floating[Any]],
    y: NDArray[np.int64],
    subject: NDArray[np.int64],
    num_classes: int,
    strength: float,
) -> Linear:
    """Logistic regression with a ridge, classes and subjects counting alike.

    Args:
        x: ``(row, feature)``, no NaN.
        y: Class codes, ``(row,)``; a class with a single sample is left out.
        subject: Subject codes, ``(row,)``.
        num_classes: Number of classes; one that is left out scores 0 everywhere.
        strength: Inverse of the penalty: before anything is learnt, the log-odds of a sample
            have about this variance, whatever the number and the scale of the features.
    """
    codes, count = np.unique(y, return_counts=True)
    usable = codes[count > 1]
    weight, intercept = np.zeros((x.shape[1], num_classes)), np.zeros(num_classes)
    if len(usable) > 1:
        held = np.flatnonzero(np.isin(y, usable))
        counts = subject_weights(y[held], subject[held])
        rows = x[held] if x.size > _LARGE else x[held].astype(np.float64)
        centre = np.average(rows, axis=0, weights=counts)
        square = float(np.average(((rows - centre) ** 2).sum(axis=1), weights=counts)) or 1.0
        model = LogisticRegression(C=strength, max_iter=10_000, tol=1e-5)
        model.fit((rows - centre) / np.sqrt(square), y[held], sample_weight=counts)
        own = model.coef_.T.astype(np.float64) / np.sqrt(square)
        at_zero = model.intercept_ - centre @ own
        if len(usable) == 2:
            own, at_zero = np.concatenate([-own, own], axis=1), np.r_[-at_zero, at_zero]
        weight[:, usable], intercept[usable] = own, at_zero
    if num_classes == 2:
        return Linear(weight[:, 1:], intercept[1:])
    return Linear(weight, intercept)
