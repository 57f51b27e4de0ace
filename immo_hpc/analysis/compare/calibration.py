"""From scores to probabilities, and whether these can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

_NUM_BINS = 5
# Probabilities are kept this far from 0 and 1.
_LEAST = 1e-3
# Nearly no penalty: one that keeps separable scores finite.
_C = 10.0


@dataclass(frozen=True)
class Platt:
    """Log-odds that are linear in the score (Platt's scaling).

    Attributes:
        centre: Subtracted from the score.
        scale: Divides it.
        slope: Log-odds a unit of it.
        intercept: Log-odds at the centre.
    """

    centre: float
    scale: float
    slope: float
    intercept: float

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of the second class, ``(item,)``."""
        odds = self.intercept + self.slope * (scores - self.centre) / self.scale
        return np.asarray(np.clip(expit(odds), _LEAST, 1 - _LEAST))


def fit_platt(scores: NDArray[np.float64], y: NDArray[np.int64]) -> Platt:
    """Learn from ``scores`` (item,) and class codes 0 and 1; one half where a class lacks."""
    if len(np.unique(y)) < 2:
        return Platt(0.0, 1.0, 0.0, 0.0)
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    model = LogisticRegression(C=_C).fit(((scores - centre) / scale)[:, None], y)
    return Platt(centre, scale, float(model.coef_[0, 0]), float(model.intercept_[0]))


def brier(probability: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Mean squared error of probabilities.

    Example:
        >>> brier(np.array([0.0, 0.5]), np.array([0, 1]))
        0.125
    """
    return float(((probability - y) ** 2).mean())


def calibration_error(probability: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Expected calibration error: mean |said - happened| over five groups of equal size.

    Example:
        >>> calibration_error(np.full(10, 0.5), np.arange(10) % 2)
        0.0
    """
    order = np.argsort(probability, kind="stable")
    groups = [part for part in np.array_split(order, _NUM_BINS) if len(part)]
    gaps = [len(part) * abs(probability[part].mean() - y[part].mean()) for part in groups]
    return float(sum(gaps) / len(y))


def calibration_slope(probability: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    """Slope of a logistic regression of ``y`` on the log-odds: 1 is right, below is too sure."""
    odds = logit(np.clip(probability, _LEAST, 1 - _LEAST))
    if len(np.unique(y)) < 2 or odds.std() < 1e-9:
        return float("nan")
    scale = float(odds.std())
    model = LogisticRegression(C=1e4).fit((odds / scale)[:, None], y)
    return float(model.coef_[0, 0]) / scale
