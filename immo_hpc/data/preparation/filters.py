"""Which features a layer keeps, and which values a kind allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind, PreparationConfig
from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.cohort import Layer
from immo_hpc.data.preparation.rows import BLOCK_BYTES
from immo_hpc.data.preparation.statistics import Statistics, merged
from immo_hpc.errors import CohortError

_RELATIVE: tuple[LayerKind, ...] = ("composition", "counts")
_NOT_NEGATIVE: tuple[LayerKind, ...] = ("composition", "counts", "intensity")


def is_relative(kind: LayerKind) -> bool:
    """True for kinds whose features mean something only beside each other."""
    return kind in _RELATIVE


def screen_statistics(values: NDArray[np.float64]) -> Statistics:
    """Numbers of rows, and by feature of measured and of positive values; for `screen`."""
    return {
        "rows": np.array(len(values)),
        "measured": np.count_nonzero(~np.isnan(values), axis=0),
        "positive": np.count_nonzero(values > 0, axis=0),
    }


def screen(
    counts: Statistics, kind: LayerKind, config: PreparationConfig
) -> dict[str, NDArray[np.bool_]]:
    """The filters on untransformed values: True, by filter, where a feature is dropped by it.

    A feature that fails both counts for ``min_measured``. A feature of a composition or of
    counts must be above zero at least once, whatever ``min_prevalence`` is.

    Args:
        counts: Merged `screen_statistics` of the training rows.
        kind: Kind of the layer.
        config: Limits of the filters.
    """
    num_rows = int(counts["rows"])
    scarce = counts["measured"] < max(1.0, config.min_measured * num_rows)
    rare = np.zeros_like(scarce)
    if is_relative(kind):
        rare = ~scarce & (counts["positive"] < max(1.0, config.min_prevalence * num_rows))
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
    blocks = row_blocks(layer.values, block_bytes=BLOCK_BYTES)
    parts = [domain_statistics(values, places, kind) for places, values in blocks]
    if parts:
        refuse_domain(merged(parts, merge_domain), layer, kind, sample_ids)


def domain_statistics(
    values: NDArray[Any], places: NDArray[np.int64], kind: LayerKind
) -> Statistics:
    """Number of values the kind does not allow, and place and value of the first.

    Args:
        values: ``(row, feature)``, original units.
        places: Place of each row in its layer, ``(row,)``.
        kind: Kind of the transform.

    Returns:
        ``infinite`` and ``barred``: count, row, column, value; float64, ``(4,)`` each.
    """
    infinite = np.isinf(values)
    if kind in _NOT_NEGATIVE:
        barred = values < 0
    elif kind == "binary":
        barred = ~(np.isnan(values) | (values == 0) | (values == 1))
    else:
        barred = np.zeros_like(infinite)
    return {"infinite": _first(values, places, infinite), "barred": _first(values, places, barred)}


def merge_domain(one: Statistics, other: Statistics) -> Statistics:
    """Statistics of rows that follow each other."""
    both = {}
    for name in one:
        first = one[name] if one[name][0] else other[name]
        both[name] = np.array([one[name][0] + other[name][0], *first[1:]])
    return both


def refuse_domain(
    found: Statistics, layer: Layer, kind: LayerKind, sample_ids: Sequence[str]
) -> None:
    """Raise what `check_domain` raises, if merged `domain_statistics` found anything."""
    if found["infinite"][0]:
        count, row, column, value = found["infinite"]
        expected, remedy = "finite values", "Correct the table."
    elif found["barred"][0]:
        count, row, column, value = found["barred"]
        expected, remedy = "0 or 1", "Give the layer the kind 'continuous'."
        if kind in _NOT_NEGATIVE:
            expected = "values of 0 or more"
            remedy = "Correct the table, or give the layer the kind 'continuous' if it is in logs."
    else:
        return
    message = (
        f"{where(layer)}, kind {kind}: sample '{sample_ids[layer.rows[int(row)]]}', feature "
        f"'{layer.features[int(column)]}' is {np.float32(value)} ({int(count)} such values); "
        f"expected {expected}. {remedy}"
    )
    raise CohortError(message)


def where(layer: Layer) -> str:
    """The layer's name, and its file if it came from one, for messages."""
    return f"layer '{layer.name}'" + (f" ({layer.source})" if layer.source else "")


def _first(
    values: NDArray[Any], places: NDArray[np.int64], wrong: NDArray[np.bool_]
) -> NDArray[np.float64]:
    if not wrong.any():
        return np.zeros(4)
    row, column = divmod(int(wrong.argmax()), wrong.shape[1])
    return np.array([np.count_nonzero(wrong), places[row], column, values[row, column]])
