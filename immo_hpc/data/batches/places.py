"""Which samples of a cohort are asked for, and which rows of its layers hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.batches.batch import require_batches
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer


def checked_places(
    cohort: PreparedCohort, index: Sequence[int] | NDArray[np.int64] | None, batch_size: int
) -> NDArray[np.int64]:
    """Places of the samples to draw, ``(sample,)``; all if ``index`` is None.

    Raises:
        UsageError: If there is none, or ``batch_size`` is below 1.
    """
    chosen = np.arange(len(cohort.samples)) if index is None else np.asarray(index, dtype=np.int64)
    require_batches(len(chosen), batch_size)
    return chosen


def row_of_sample(
    layer: PreparedLayer, index: NDArray[np.int64], num_samples: int
) -> NDArray[np.int64]:
    """Row of ``layer`` that holds each sample of ``index``, ``(sample,)``; -1: not measured."""
    row = np.full(num_samples, -1, dtype=np.int64)
    row[layer.rows] = np.arange(len(layer.rows))
    return row[index]
