"""Which features a layer keeps, and which values a kind allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind, PreparationConfig
from immo_hpc.data.cohort import Layer
from immo_hpc.errors import CohortError

_RELATIVE: tuple[LayerKind, ...] = ("composition", "counts")
_NOT_NEGATIVE: tuple[LayerKind, ...] = ("composition", "counts", "intensity")


def is_relative(kind: LayerKind) -> bool:
    """True for kinds whose features mean something only beside each other."""
    return kind in _RELATIVE


def screen(
    values: NDArray[np.float32], kind: LayerKind, config: PreparationConfig
) -> dict[str, NDArray[np.bool_]]:
    """The filters on untransformed values: True, by filter, where a feature is dropped by it.

    A feature that fails both counts for ``min_measured``. A feature of a composition or of
    counts must be above zero at least once, whatever ``min_prevalence`` is.

    Args:
        values: Training rows, ``(row, feature)``, original units, NaN = missing.
        kind: Kind of the layer.
        config: Limits of the filters.
    """
    measured = np.count_nonzero(~np.isnan(values), axis=0)
    scarce = measured < max(1.0, config.min_measured * len(values))
    rare = np.zeros_like(scarce)
    if is_relative(kind):
        positive = np.count_nonzero(values > 0, axis=0)
        rare = ~scarce & (positive < max(1.0, config.min_prevalence * len(values)))
    return {"min_measured": scarce, "min_prevalence": rare}


def is_flat(
    mean: NDArray[np.float64], sd: NDArray[np.float64], config: PreparationConfig
) -> NDArray[np.bool_]:
    """True where a transformed feature does not vary beyond ``min_sd`` and rounding."""
    return sd <= np.maximum(config.min_sd, 1e-9 * np.abs(mean))


def check_domain(layer: Layer, kind: LayerKind, sample_ids: Sequence[str]) -> None:
    """Refuse values that the kind's transform has no meaning for.

    Args:
        layer: Layer whose values are about to be transformed.
        kind: Kind of the transform, which need not be the layer's own.
        sample_ids: Names of the cohort's samples, for the message.

    Raises:
        CohortError: For infinite values; for negative ones in a composition, counts or
            intensities; for anything but 0 and 1 in a binary layer.
    """
    values = layer.values
    wrong, expected, remedy = np.isinf(values), "finite values", "Correct the table."
    if kind in _NOT_NEGATIVE and not wrong.any():
        wrong, expected = values < 0, "values of 0 or more"
        remedy = "Correct the table, or give the layer the kind 'continuous' if it is in logs."
    elif kind == "binary" and not wrong.any():
        wrong, expected = ~(np.isnan(values) | (values == 0) | (values == 1)), "0 or 1"
        remedy = "Give the layer the kind 'continuous'."
    if not wrong.any():
        return
    row, column = (int(place) for place in np.argwhere(wrong)[0])
    message = (
        f"{where(layer)}, kind {kind}: sample '{sample_ids[layer.rows[row]]}', feature "
        f"'{layer.features[column]}' is {values[row, column]} ({int(wrong.sum())} such values); "
        f"expected {expected}. {remedy}"
    )
    raise CohortError(message)


def where(layer: Layer) -> str:
    """The layer's name, and its file if it came from one, for messages."""
    return f"layer '{layer.name}'" + (f" ({layer.source})" if layer.source else "")
