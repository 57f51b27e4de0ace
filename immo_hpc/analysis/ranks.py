"""Ranks of the features within a sample.

Two samples that differ in depth, dilution or the loudness of an instrument have the same ranks,
and no outlier is further than the next feature. What is missing ranks lowest: most often it lies
below a detection limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

_CHUNK = 4_000_000  # Values held at once in float64.


def in_sample_ranks(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Rank of each feature within its row, as steps of one about 0 whose variance is 1.

    Args:
        values: ``(row, feature)``, NaN = missing, which is below all that was measured.

    Returns:
        ``(row, feature)``, float32; equal values have the mean of their ranks.

    Example:
        >>> in_sample_ranks(np.array([[5.0, np.nan, 7.0]])).round(2).tolist()
        [[0.0, -1.2200000286102295, 1.2200000286102295]]
    """
    num_features = values.shape[1]
    # Ranks 1 to n have the variance (n² - 1) / 12.
    scale = np.sqrt(max(num_features**2 - 1, 1) / 12)
    ranks = np.empty(values.shape, dtype=np.float32)
    step = max(1, _CHUNK // max(1, num_features))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        lowest = np.where(np.isnan(part), -np.inf, part)
        middle = (num_features + 1) / 2
        ranks[start : start + step] = (rankdata(lowest, axis=1) - middle) / scale
    return ranks
