"""Points of a space that no surrogate is asked for: spread evenly, or drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import qmc

from immo_hpc.search.dimension import Dimension, Value
from immo_hpc.search.space import Params, Space


def sobol_point(space: Space, seed: int, number: int) -> Params:
    """Point ``number`` of a scrambled Sobol sequence: spread out, and never the same twice."""
    sequence = qmc.Sobol(len(space.dimensions), seed=np.random.default_rng(seed))
    if number:
        sequence.fast_forward(number)
    return _point(space, sequence.random(1)[0].tolist())


def drawn_point(space: Space, seed: Sequence[int]) -> Params:
    """A point drawn uniformly, each dimension on its own scale."""
    rng = np.random.default_rng(list(seed))
    return _point(space, rng.random(len(space.dimensions)).tolist())


def _point(space: Space, uniform: Sequence[float]) -> Params:
    """The point at these places of the unit cube, one number a dimension, active or not."""
    params: Params = {}
    for dimension, place in zip(space.dimensions, uniform, strict=True):
        if dimension.applies({**space.fixed, **params}):
            params[dimension.key] = _at(dimension, place)
    return params


def _at(dimension: Dimension, place: float) -> Value:
    if dimension.kind == "choice":
        return dimension.choices[
            min(int(place * len(dimension.choices)), len(dimension.choices) - 1)
        ]
    assert dimension.low is not None
    assert dimension.high is not None
    # A whole number owns the interval of half a unit to both sides.
    half = 0.5 if dimension.kind == "int" else 0.0
    low, high = dimension.low - half, dimension.high + half
    value = low * (high / low) ** place if dimension.log else low + place * (high - low)
    if dimension.kind == "int":
        return int(min(max(round(value), dimension.low), dimension.high))
    return min(max(value, dimension.low), dimension.high)
