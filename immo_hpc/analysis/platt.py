"""From scores to probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

# Probabilities are kept this far from 0 and 1.
LEAST = 1e-3
# Nearly no penalty: the targets keep separable scores finite.
_C = 1e4


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
        return np.asarray(np.clip(expit(odds), LEAST, 1 - LEAST))


def fit_platt(scores: NDArray[np.float64], y: NDArray[np.int64]) -> Platt:
    """Learn from scores of subjects that were not learnt from; one half where a class lacks.

    The targets are those of Platt (1999), (n + 1) / (n + 2) instead of 1 for n of a class and
    1 / (n + 2) instead of 0: few subjects never make anybody sure.

    Args:
        scores: ``(item,)``.
        y: Class codes 0 and 1, ``(item,)``.
    """
    if len(np.unique(y)) < 2:
        return Platt(0.0, 1.0, 0.0, 0.0)
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    z = ((scores - centre) / scale)[:, None]
    count = np.bincount(y, minlength=2)
    target = np.where(y == 1, (count[1] + 1) / (count[1] + 2), 1 / (count[0] + 2))
    both = np.concatenate([np.ones(len(y)), np.zeros(len(y))])
    model = LogisticRegression(C=_C, max_iter=1000)
    model.fit(np.concatenate([z, z]), both, sample_weight=np.concatenate([target, 1 - target]))
    return Platt(centre, scale, float(model.coef_[0, 0]), float(model.intercept_[0]))
