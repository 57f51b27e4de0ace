"""How far each layer is taken from the companion, from the network and from the training mean.

Weights are at least 0 and together at most 1; what is left is the training mean. Each is drawn
toward 0 by its own uncertainty over people, so that a layer that cannot be foretold
gets the mean.

Legend of shapes: ``item`` counts samples scored, ``feature`` one layer's features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Squared standard errors that a squared slope must exceed to count at all.
_CAUTION = 2.0

Table = NDArray[np.floating]


@dataclass(frozen=True)
class Weight:
    """Shares of companion and network in what is said; the rest is the training mean's.

    Example:
        >>> Weight(0.5, 0.25).mean
        0.25
    """

    companion: float
    network: float

    @property
    def mean(self) -> float:
        """Weight of the training mean."""
        return 1.0 - self.companion - self.network

    def mixed(self, mean: Table, companion: Table, network: Table) -> NDArray[np.float32]:
        """Mean ``(feature,)`` and what the two say ``(item, feature)``, by their shares."""
        said = mean + self.companion * (companion - mean) + self.network * (network - mean)
        return np.asarray(said, dtype=np.float32)


@dataclass(frozen=True)
class Scored:
    """What is known of a layer's hidden values.

    Attributes:
        truth: ``(item, feature)``, z-scores above the training mean, NaN = not scored.
        companion: What the companion says, above it, of people it was not fitted to.
        person: Person of each item, ``(item,)``, int64.
        network: What the network says, above it; looked at for the items ``judged``.
        judged: Items whose people neither of the two learnt from, ``(judged,)``, int64.
    """

    truth: Table
    companion: Table
    person: NDArray[np.int64]
    network: Table | None = None
    judged: NDArray[np.int64] | None = None


def fitted_weight(scored: Scored) -> Weight:
    """Weights of least squared error, each drawn toward 0 by its jackknife error over people.

    First how much of the companion is taken at all, over all people; then what part of it
    the network replaces, over the people that no one learnt from.
    """
    whole = _slope(scored.truth, scored.companion, scored.person)
    if scored.network is None or scored.judged is None or not len(scored.judged):
        return Weight(whole, 0.0)
    truth, companion = scored.truth[scored.judged], whole * scored.companion[scored.judged]
    person = scored.person[scored.judged]
    # The network's own scale is not the companion's: a layer that is noise to it is not taken.
    part = _slope(truth - companion, scored.network[scored.judged] - companion, person)
    return Weight(whole * (1 - part), part)


def _slope(truth: Table, said: Table, person: NDArray[np.int64]) -> float:
    """Factor on ``said`` of least squared error, in [0, 1], shrunk as James and Stein did."""
    is_known = np.isfinite(truth)
    known = np.where(is_known, truth, 0).astype(np.float64)
    said = np.where(is_known, said, 0).astype(np.float64)
    code = np.unique(person, return_inverse=True)[1].ravel()
    product = np.bincount(code, (known * said).sum(axis=1))
    square = np.bincount(code, (said**2).sum(axis=1))
    number = len(product)
    if number < 2 or not square.sum() > 0:
        return 0.0
    slope = product.sum() / square.sum()
    if not slope > 0:
        return 0.0
    left = np.maximum(square.sum() - square, 1e-300)
    without = (product.sum() - product) / left
    variance = (number - 1) / number * ((without - without.mean()) ** 2).sum()
    return float(min(slope * max(1 - _CAUTION * variance / slope**2, 0.0), 1.0))
