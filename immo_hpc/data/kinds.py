"""Guessing from the values how a layer was made, and on which scale it stands.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind
from immo_hpc.data.matrices import gather

# Enough rows for shares and medians, few enough for tables larger than memory.
_ROWS_LOOKED_AT = 4000
_VALUES_LOOKED_AT = 1 << 22
_LEAST_ROWS = 64
_WHOLE = {"fraction": 1.0, "percent": 100.0}
_LEAST_COUNTS_PER_ROW = 100
_MOST_COUNT = 1e8
_LEAST_INTENSITY = 1000
_LEAST_SPREAD = 4
_MOST_LOG = 60


def guess_kind(values: NDArray[np.float32]) -> LayerKind:
    """Guess how the values of a layer were made.

    Args:
        values: Measurements, ``(row, feature)``, float32, NaN = missing.

    Returns:
        ``binary`` for 0 and 1 alone; ``composition`` for rows that sum to about 1 or 100;
        ``counts`` for whole numbers from 0 or 1 up with large sums; ``intensity`` for
        positive values of a wide range within features; ``continuous`` otherwise.

    Example:
        >>> guess_kind(np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32))
        'composition'
    """
    some = _some_rows(values)
    known = some[~np.isnan(some)]
    if known.size == 0:
        return "continuous"
    if np.isin(known, (0, 1)).all():
        return "binary"
    if known.min() < 0:
        return "continuous"
    if parts_of(some) is not None:
        return "composition"
    if _looks_counted(some, known):
        return "counts"
    if known.max() >= _LEAST_INTENSITY and _spread(some) >= _LEAST_SPREAD:
        return "intensity"
    return "continuous"


def guess_scale(values: NDArray[np.float32]) -> str:
    """Name the scale the values seem to stand on, such as ``percent`` or ``log-like``.

    Args:
        values: Measurements, ``(row, feature)``, float32, NaN = missing.

    Example:
        >>> guess_scale(np.array([[20.0, 80.0], [99.0, 1.0]], dtype=np.float32))
        'percent'
    """
    kind = guess_kind(values)
    some = _some_rows(values)
    known = some[~np.isnan(some)]
    if kind == "composition":
        return str(parts_of(some))
    if kind != "continuous":
        return {"binary": "0/1", "counts": "raw counts", "intensity": "raw intensity"}[kind]
    if known.size == 0:
        return "none"
    if known.min() >= 0 and known.max() <= 1:
        return "0 to 1"
    if known.min() < 0 and abs(float(known.mean())) < 0.1 and 0.8 < float(known.std()) < 1.2:
        return "z-score"
    return "log-like" if np.abs(known).max() <= _MOST_LOG else "own units"


def parts_of(values: NDArray[np.float32]) -> str | None:
    """``fraction`` or ``percent`` if nearly all rows sum to about 1 or 100, else None.

    Sums a little below are allowed: published tables often leave out rare features.
    """
    if values.shape[1] < 2:
        return None
    sums = np.nansum(_some_rows(values), axis=1, dtype=np.float64)
    for name, whole in _WHOLE.items():
        near = (sums >= 0.75 * whole) & (sums <= 1.01 * whole)
        if near.mean() >= 0.95 and sums.max() <= 1.05 * whole:
            return name
    return None


def are_whole(values: NDArray[np.float32]) -> bool:
    """True if every measured value (of the rows looked at) is a whole number."""
    some = _some_rows(values)
    known = some[~np.isnan(some)]
    return bool((known == np.rint(known)).all())


def _looks_counted(some: NDArray[np.float32], known: NDArray[np.float32]) -> bool:
    # Peak areas are whole numbers too, but start well above 1 and end beyond any library.
    if known.min() > 1 or known.max() > _MOST_COUNT or not are_whole(some):
        return False
    sums = np.nansum(some, axis=1, dtype=np.float64)
    return bool(np.median(sums) >= _LEAST_COUNTS_PER_ROW)


def _spread(some: NDArray[np.float32]) -> float:
    """Median over features of largest over middle positive value."""
    positive = np.where(some > 0, some, np.nan)
    positive = positive[:, ~np.isnan(positive).all(axis=0)]
    if positive.size == 0:
        return 1.0
    return float(np.median(np.nanmax(positive, axis=0) / np.nanmedian(positive, axis=0)))


def _some_rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    most = min(max(_VALUES_LOOKED_AT // max(values.shape[1], 1), _LEAST_ROWS), _ROWS_LOOKED_AT)
    step = max(-(-len(values) // most), 1)
    return values[::step] if step == 1 else gather(values, np.arange(0, len(values), step))
