"""Product of experts: the evidence of several models about a subject is added up.

Each expert (the model of one layer, say) scores the subjects that have its layer. Scores are
put on one scale, weighted, and summed as log-odds: an expert that has nothing to go by adds
nothing, and two that agree are surer than one. The weights, none below 0, are learnt by logistic
regression from scores of training subjects whom the expert had not seen.

Legend of shapes: ``subject``, ``expert``, ``column`` as in `immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]

# Penalty on half the squared weights, in subjects: prior knowledge worth that of one.
_PENALTY = 1.0


@dataclass(frozen=True)
class Product:
    """Learnt scale and weight of each expert.

    Attributes:
        centre: Mean score, ``(expert, column)``.
        scale: Standard deviation, above 0, ``(expert, column)``.
        weight: Log-odds a standard deviation, at least 0, ``(expert, column)``.
        intercept: Log-odds of a subject about whom nothing is known, ``(column,)``.
    """

    centre: Array
    scale: Array
    weight: Array
    intercept: Array

    def log_odds(self, evidence: Array) -> Array:
        """Log-odds of each class against the rest, ``(subject, column)``.

        Args:
            evidence: Scores, ``(subject, expert, column)``; NaN where an expert has none.

        Example:
            >>> one = np.ones((2, 1))
            >>> product = Product(0 * one, one, 2 * one, np.zeros(1))
            >>> product.log_odds(np.array([[[1.0], [1.0]], [[1.0], [np.nan]]])).tolist()
            [[4.0], [2.0]]
        """
        parts = self.weight * (evidence - self.centre) / self.scale
        return np.asarray(self.intercept + np.where(np.isnan(parts), 0, parts).sum(axis=1))


def fit_product(evidence: Array, y: NDArray[np.int64]) -> Product:
    """Learn from scores of training subjects by models that had not seen them.

    Classes count alike, whatever their number of subjects.

    Args:
        evidence: Scores, ``(subject, expert, column)``; NaN where an expert has none.
        y: Class codes, ``(subject,)``; with one column, class 1 against class 0.

    Returns:
        The product; equal weights where ``y`` has a single class or nobody was scored.
    """
    known = np.isfinite(evidence)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, evidence, 0).sum(axis=0) / count
    spread = np.where(known, evidence - centre, 0)
    scale = np.sqrt((spread**2).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1.0)
    num_columns = evidence.shape[2]
    fits = [
        _weights(spread[:, :, column] / scale[:, column], y == (1 if num_columns == 1 else column))
        for column in range(num_columns)
    ]
    weight = np.stack([own for _, own in fits], axis=1)
    return Product(centre, scale, weight, np.array([intercept for intercept, _ in fits]))


def _weights(z: Array, is_positive: NDArray[np.bool_]) -> tuple[float, Array]:
    """Intercept and weights >= 0 of a balanced, penalised logistic regression."""
    number, share = len(is_positive), is_positive.mean() if len(is_positive) else 0.0
    if not 0 < share < 1 or not z.any():
        return 0.0, np.ones(z.shape[1])
    counts = np.where(is_positive, 0.5 / share, 0.5 / (1 - share))
    x = np.concatenate([np.ones((number, 1)), z], axis=1)
    sign = np.where(is_positive, 1.0, -1.0)

    def loss(beta: Array) -> tuple[float, Array]:
        odds = sign * (x @ beta)
        value = (counts * np.logaddexp(0, -odds)).sum() + _PENALTY / 2 * (beta[1:] ** 2).sum()
        slope = -(counts * sign * expit(-odds)) @ x
        slope[1:] += _PENALTY * beta[1:]
        return float(value), slope

    bounds = [(None, None), *[(0.0, None)] * z.shape[1]]
    beta = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(beta[0]), np.asarray(beta[1:])
