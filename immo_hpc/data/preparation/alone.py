"""Original units of single values, the rest of their row being what it is.

The way back of a composition closes a whole row, so a value there depends on all others. An
interval asks about one value at a time: what would it be if it alone were different? With the
factor that closed the row held fixed, the way back is increasing in every value of every kind,
so quantiles of errors become quantiles in original units exactly.

Legend of shapes: ``row`` counts samples, ``feature`` the layer's kept features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.composition import ZERO_SHARE, Composition
from immo_hpc.data.preparation.extended import Extended
from immo_hpc.data.preparation.layer import LayerPreparation

# As in `composition`: proportions up to here, in units of what stands for a zero, are zeros.
_SEEN_ABOVE = ZERO_SHARE**-0.5
# Natural log; exp of more is not a float64, and no proportion is near it.
_LARGEST_LOG = 700.0

Values = NDArray[np.floating[Any]]


def comparable(layer: LayerPreparation, z: Values) -> NDArray[np.float64]:
    """Values on the scale on which one value can be compared with another: see `restored`.

    Z-scores; of a composition the z-scores of log proportions, which are the z-scores raised by
    one amount a row: what closing the row adds to all its log-ratios.

    Args:
        layer: Preparation of the layer.
        z: ``(row, feature)``, z-score units, NaN = missing; one value at least in each row.

    Returns:
        ``(row, feature)``, float64, z-score units, NaN where ``z`` is.
    """
    values = z.astype(np.float64)
    composition, num_base = _composition(layer)
    if composition is None or not len(values):
        return values
    logs = (values * layer.sd + layer.mean)[:, :num_base]
    closed = composition.inverse(logs.copy(), np.ones(len(logs)))
    top = np.where(np.isnan(closed), -np.inf, closed).argmax(axis=1)[:, None]
    raised = np.log(np.take_along_axis(closed, top, axis=1)) - np.take_along_axis(logs, top, axis=1)
    return np.asarray(values + raised / layer.sd)


def restored(
    layer: LayerPreparation, values: Values, scale: Values | None = None
) -> NDArray[np.float64]:
    """Original units of values that `comparable` gave; increasing in each of them.

    Args:
        layer: Preparation of the layer.
        values: ``(row, feature)``, as `comparable` gives them.
        scale: Scale of each row, ``(row,)``; None for the median of the training samples.

    Returns:
        ``(row, feature)``, float64, original units.
    """
    rows = np.full(len(values), layer.median_scale) if scale is None else scale.astype(np.float64)
    transformed = values.astype(np.float64) * layer.sd + layer.mean
    composition, num_base = _composition(layer)
    if composition is None:
        return layer.transform.inverse(transformed, rows)
    proportion = np.exp(np.minimum(transformed, _LARGEST_LOG))
    # A part is no more than the whole; what joined later may be more than the old features.
    proportion[:, :num_base] = np.minimum(proportion[:, :num_base], 1.0)
    joined = layer.transform.limit if isinstance(layer.transform, Extended) else np.empty(0)
    zero = _SEEN_ABOVE * np.concatenate([composition.delta, joined])
    return np.asarray(np.where(proportion > zero, proportion, 0.0) * rows[:, None])


def _composition(layer: LayerPreparation) -> tuple[Composition | None, int]:
    """The composition a layer is, and how many features, the first ones, close it."""
    base, num_base = layer.transform, len(layer.features)
    if isinstance(layer.transform, Extended):
        base, num_base = layer.transform.base, layer.transform.num_base
    return (base, num_base) if isinstance(base, Composition) else (None, num_base)
