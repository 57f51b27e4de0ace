"""Loss weights as independent numbers between 0 and 1.

Weights of N layers are positive and sum to 1: they have N - 1 degrees of freedom. A stick of
length 1 is broken N - 1 times; share k is the place of break k on the scale of its own
distribution function, so that shares drawn uniformly give weights drawn uniformly on the
simplex (Dirichlet with all parameters 1). The map is smooth and has an inverse: a surrogate
sees each point of the simplex once, in as few dimensions as there are.
"""

from __future__ import annotations

from collections.abc import Sequence


def weights_of(shares: Sequence[float]) -> list[float]:
    """Weights from shares.

    Args:
        shares: One number from 0 to 1 for each layer but the last.

    Returns:
        One weight a layer, at least 0, summing to 1.

    Example:
        >>> [round(weight, 3) for weight in weights_of([0.5556, 0.5])]
        [0.333, 0.333, 0.333]
    """
    left, weights = 1.0, []
    for place, share in enumerate(shares):
        num_after = len(shares) - place
        part = 1.0 - (1.0 - share) ** (1.0 / num_after)
        weights.append(left * part)
        left *= 1.0 - part
    return [*weights, left]


def shares_of(weights: Sequence[float]) -> list[float]:
    """The shares that `weights_of` turns into these weights, scaled to sum to 1.

    Example:
        >>> [round(share, 4) for share in shares_of([0.3, 0.3, 0.4])]
        [0.51, 0.4286]
    """
    total = sum(weights)
    left, shares = 1.0, []
    for place, weight in enumerate(weights[:-1]):
        part = min(1.0, weight / total / left) if left > 0 else 0.0
        shares.append(1.0 - (1.0 - part) ** (len(weights) - 1 - place))
        left -= weight / total
    return shares
