"""Sums of absolute differences between the rows of two tables, compiled.

SciPy's ``cdist`` of 2,000 by 2,000 rows of 1,000 features takes 4.2 s on one core, this .45 s
(2026-11-28): float32, eight features at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]


def absolute_differences(a: Table, b: Table) -> Table:
    """Sum over features of ``|a_i - b_j|`` for all rows i and j.

    Args:
        a: ``(item, feature)``, float32, no NaN.
        b: ``(row, feature)``, float32, no NaN.

    Returns:
        ``(item, row)``, float32, each to about ``feature`` roundings; of equal rows exactly 0.

    Example:
        >>> a, b = np.array([[1.0, 2.0]]), np.array([[1.0, 2.0], [4.0, 0.0]])
        >>> absolute_differences(a.astype(np.float32), b.astype(np.float32)).tolist()
        [[0.0, 5.0]]
    """
    result = np.empty((len(a), len(b)), dtype=np.float32)
    _compiled()(np.ascontiguousarray(a), np.ascontiguousarray(b), result)
    return result


@functools.cache
def _compiled() -> Callable[..., Any]:
    from immo_compiling import compiled

    table = "float32[:, ::1]"
    # Features may be summed in any order, which lets the processor take several at once.
    return compiled(_differences, f"void({table}, {table}, {table})", fastmath={"reassoc"})


def _differences(a: Table, b: Table, result: Table) -> None:
    for item in range(a.shape[0]):
        for row in range(b.shape[0]):
            total = np.float32(0)
            for feature in range(a.shape[1]):
                total += abs(a[item, feature] - b[row, feature])
            result[item, row] = total
