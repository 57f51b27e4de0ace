"""Whether probabilities can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis.platt import LEAST

_NUM_BINS = 5


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
    odds = logit(np.clip(probability, LEAST, 1 - LEAST))
    if len(np.unique(y)) < 2 or odds.std() < 1e-9:
        return float("nan")
    scale = float(odds.std())
    model = LogisticRegression(C=1e4).fit((odds / scale)[:, None], y)
    return float(model.coef_[0, 0]) / scale
