"""Intervals around what a model says, in original units.

A measured value has no interval: it is itself, below and above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import rows_in
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.preparation.alone import comparable, restored
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, visited
from immo_hpc.inference.calibration.hidden import Mode, Task
from immo_hpc.inference.calibration.intervals import Offsets
from immo_hpc.inference.impute import possible


def layer_bounds(
    name: str,
    z_hat: NDArray[np.float32],
    cohort: PreparedCohort,
    preparation: Preparation,
    offsets: Mapping[Mode, Mapping[Task, Offsets]],
    values: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lower and upper ends around the imputed values of one layer.

    Args:
        name: Layer.
        z_hat: Reconstruction, ``(sample, feature)``, float32, z-score units.
        cohort: The prepared samples.
        preparation: Fitted preparation.
        offsets: How far the ends are from what the model says: 'plain' of samples without
            other visits, 'visits' of those with; for single values that are missing, for layers
            that are, and for layers that are and that another visit has.
        values: The complete layer (`complete_layer`), ``(sample, feature)``, original units.

    Returns:
        Lower and upper ends, of the form of ``values``, which always lie between them. Measured
        values are their own ends. NaN where the calibration knows nothing.
    """
    layer = cohort.layers[name]
    measured = ~np.isnan(layer.values)
    ends = np.empty((2, *z_hat.shape), dtype=np.float32)
    is_absent = np.ones(len(z_hat), dtype=np.bool_)
    is_absent[layer.rows] = False
    is_visited, is_revisited = visited(cohort), np.zeros(len(z_hat), dtype=np.bool_)
    if name + SUFFIX in cohort.layers:
        is_revisited[cohort.layers[name + SUFFIX].rows] = True
    plain, visits = offsets["plain"], offsets["visits"]
    for is_meant, around in (
        (is_absent & ~is_visited, plain["layers"]),
        (is_absent & is_visited & ~is_revisited, visits["layers"]),
        (is_absent & is_revisited, visits["revisited"]),
    ):
        rows = np.flatnonzero(is_meant)
        ends[:, rows] = _ends(name, z_hat[rows], None, preparation, around)
    filled = np.where(measured, layer.values, z_hat[layer.rows])
    is_own = is_visited[layer.rows]
    for is_meant, around in ((~is_own, plain["values"]), (is_own, visits["values"])):
        rows, z, scale = layer.rows[is_meant], filled[is_meant], layer.scale[is_meant]
        ends[:, rows] = _ends(name, z, scale, preparation, around)
    imputed = np.ones(z_hat.shape, dtype=np.bool_)
    imputed[layer.rows] = ~measured
    said = values.to_numpy()
    # A value lies in its interval, whatever is lost in rounding.
    lower = np.where(imputed, np.minimum(ends[0], said), said)
    upper = np.where(imputed, np.maximum(ends[1], said), said)
    return _framed(lower, values), _framed(upper, values)


def _ends(
    name: str,
    z: NDArray[np.float32],
    scale: NDArray[np.float32] | None,
    preparation: Preparation,
    around: Offsets,
) -> NDArray[np.float32]:
    layer = preparation.layers[name]
    ends = np.empty((2, *z.shape), dtype=np.float32)
    step = rows_in(z.shape[1])
    for start in range(0, len(z), step):
        block = slice(start, start + step)
        said = comparable(layer, z[block])
        for end, offset in zip(ends, (around.lower, around.upper), strict=True):
            own = None if scale is None else scale[block]
            with np.errstate(over="ignore"):
                end[block] = possible(layer.kind, restored(layer, said + offset, own))
    return ends


def _framed(values: NDArray[Any], like: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(values.astype(np.float32), index=like.index, columns=like.columns)
