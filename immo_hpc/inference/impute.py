"""From reconstructed z-scores to complete tables in original units.

A complete table holds what was measured as it was measured, and what the model says
everywhere else. The two are kept apart by a table of the same shape that is True where
a value was imputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.config import LayerKind
from immo_hpc.data.blocks import rows_in
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError

_LARGEST = float(np.finfo(np.float32).max)
_RANGES: dict[LayerKind, tuple[float, float]] = {
    "composition": (0.0, _LARGEST),
    "counts": (0.0, _LARGEST),
    "intensity": (0.0, _LARGEST),
    "continuous": (-_LARGEST, _LARGEST),
    "binary": (0.0, 1.0),
}


@dataclass(frozen=True)
class Imputation:
    """Complete layers, and what in them was not measured.

    Attributes:
        values: By layer a table, index ``sample_id``, columns the features the model knows,
            float32, original units, no NaN.
        imputed: By layer a table of the same shape: True where the value comes from the
            model, False where it was measured.
        lower: By layer a table of the same shape, if intervals were asked for: their lower
            ends; where a value was measured, the value.
        upper: Likewise the upper ends.
    """

    values: dict[str, pd.DataFrame]
    imputed: dict[str, pd.DataFrame]
    lower: dict[str, pd.DataFrame] = field(default_factory=dict)
    upper: dict[str, pd.DataFrame] = field(default_factory=dict)


def joined(parts: Sequence[Imputation]) -> Imputation:
    """Imputations of the same layers below each other; one part is given as it is."""
    if len(parts) == 1:
        return parts[0]
    tables = {
        item.name: {
            name: pd.concat([getattr(part, item.name)[name] for part in parts])
            for name in getattr(parts[0], item.name)
        }
        for item in fields(Imputation)
    }
    return Imputation(**tables)


def abstained(imputation: Imputation, is_far: NDArray[np.bool_]) -> Imputation:
    """The same with what was imputed in some samples missing again: NaN, and not imputed.

    Args:
        imputation: Complete layers.
        is_far: True for the samples about which nothing shall be said, ``(sample,)``.
    """
    if not is_far.any():
        return imputation
    parts: dict[str, dict[str, pd.DataFrame]] = {"values": {}, "lower": {}, "upper": {}}
    imputed = {}
    for name, mask in imputation.imputed.items():
        left_out = mask.to_numpy() & is_far[:, None]
        imputed[name] = mask & ~left_out
        for part, tables in parts.items():
            given = getattr(imputation, part)
            if name in given:
                tables[name] = given[name].mask(left_out)
    return replace(imputation, imputed=imputed, **parts)


def possible(kind: LayerKind, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values moved into the range a layer of this kind can have, float32.

    Compositions, counts and intensities are at least 0, binary values lie in [0, 1], and
    all are finite float32 numbers.

    Args:
        kind: Kind of the layer.
        values: Original units, any shape.

    Example:
        >>> possible("binary", np.array([-0.2, 0.4, 1.3])).tolist()
        [0.0, 0.4000000059604645, 1.0]
    """
    low, high = _RANGES[kind]
    return np.clip(values, low, high).astype(np.float32)


def original_units(
    name: str,
    z: NDArray[np.float32],
    preparation: Preparation,
    scale: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Possible values in original units of z-scores ``(row, feature)`` of a layer.

    Args:
        name: Layer.
        z: Z-scores, no NaN.
        preparation: Fitted preparation.
        scale: Scale of each row, ``(row,)``; None for the median of the training samples.
    """
    kind = preparation.layers[name].kind
    result = np.empty(z.shape, dtype=np.float32)
    # In blocks, because the way back is computed in float64.
    step = rows_in(z.shape[1])
    for start in range(0, len(z), step):
        block = slice(start, start + step)
        # A z-score far from all training can exceed float64 out of the logs; it is clipped.
        with np.errstate(over="ignore"):
            values = preparation.invert(name, z[block], None if scale is None else scale[block])
        result[block] = possible(kind, values)
    return result


def complete_layer(
    name: str,
    z_hat: NDArray[np.float32],
    cohort: PreparedCohort,
    preparation: Preparation,
    raw: Cohort | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One layer for all samples: measured values where there are, else the model's.

    Rows of samples the layer was measured in keep their own scale (total or library
    size); the others get the median scale of the training samples.

    Args:
        name: Layer.
        z_hat: Reconstruction, ``(sample, feature)``, float32, z-score units.
        cohort: The prepared samples.
        preparation: Fitted preparation.
        raw: The same samples before preparation. Given, measured values come back bit for
            bit; otherwise they are recomputed from their z-scores.

    Returns:
        Values (float32, original units) and what was imputed (bool), both
        ``(sample, feature)`` with the sample names as index.

    Raises:
        CohortError: If ``raw`` lacks one of the samples or the layer.
    """
    layer = cohort.layers[name]
    measured = ~np.isnan(layer.values)
    result = original_units(name, z_hat, preparation)
    filled = np.where(measured, layer.values, z_hat[layer.rows])
    result[layer.rows] = original_units(name, filled, preparation, layer.scale)
    if raw is not None and len(layer.rows):
        original = _original(name, cohort, raw)
        known = measured & ~np.isnan(original)
        result[layer.rows] = np.where(known, original, result[layer.rows])
    imputed = np.ones(result.shape, dtype=np.bool_)
    imputed[layer.rows] = ~measured
    index = pd.Index(cohort.sample_ids, name="sample_id")
    columns = pd.Index(layer.features)
    return (
        pd.DataFrame(result, index=index, columns=columns),
        pd.DataFrame(imputed, index=index, columns=columns),
    )


def _original(name: str, cohort: PreparedCohort, raw: Cohort) -> NDArray[np.float32]:
    """The prepared layer's rows and features as ``raw`` holds them, NaN where it does not."""
    layer, source = cohort.layers[name], raw.layers.get(name)
    place = pd.Index(raw.sample_ids).get_indexer(cohort.samples.index[layer.rows].astype(str))
    if source is None or (place < 0).any():
        message = (
            f"layer '{name}': the cohort given for the measured values is not the one that "
            "was prepared; some samples or the layer itself are missing from it."
        )
        raise CohortError(message)
    row_of = np.full(len(raw.samples), -1, dtype=np.int64)
    row_of[source.rows] = np.arange(len(source.rows))
    column = pd.Index(source.features).get_indexer(pd.Index(layer.features))
    picked: NDArray[np.float32] = source.values[row_of[place]][:, column]
    picked[row_of[place] < 0] = np.nan
    picked[:, column < 0] = np.nan
    return picked
