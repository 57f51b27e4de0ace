"""Trimmed mean of M-values: composition-proof library sizes (Robinson & Oshlack 2010).

A few strongly expressed features take sequencing depth from all others. TMM compares a
sample with a reference sample feature by feature (M: log-ratio, A: mean log-abundance),
trims both, and averages M with weights from the delta method.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TRIM_M = 0.3
_TRIM_A = 0.05


def tmm_factors(counts: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factor on each row's library size, from the row and the reference alone.

    Args:
        counts: ``(row, feature)``, counts, NaN = missing.
        reference: Counts of the reference sample, ``(feature,)``, NaN = missing.

    Returns:
        Factors, ``(row,)``, dimensionless; 1 where a row shares no positive feature with
        the reference.

    Example:
        >>> depth = np.array([10.0, 20.0, 30.0, 40.0])
        >>> tmm_factors(np.stack([depth, 3 * depth]), depth)
        array([1., 1.])
    """
    return np.array([_factor(row, reference) for row in counts])


def row_richness(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What `choose_reference` asks of each row, ``(row,)``; see there."""
    total = np.nansum(counts, axis=1)
    # The same numbers either way; the one that looks out for NaN takes far longer.
    quantile = np.nanquantile if np.isnan(counts).any() else np.quantile
    quartile = quantile(counts, 0.75, axis=1) / np.where(total > 0, total, 1.0)
    return {"total": total, "quartile": quartile, "root": np.nansum(np.sqrt(counts), axis=1)}


def choose_reference(
    total: NDArray[np.float64], quartile: NDArray[np.float64], root: NDArray[np.float64]
) -> int:
    """Row whose upper quartile of proportions is nearest to the mean one.

    Where most upper quartiles are 0 (sparse counts), the row with the largest sum of
    square roots, which has many features and many counts.

    Args:
        total: Sum of each row, ``(row,)``, counts.
        quartile: Upper quartile of each row's proportions, ``(row,)``.
        root: Sum of the square roots of each row, ``(row,)``.
    """
    if np.median(quartile) > 0:
        distance = np.where(total > 0, np.abs(quartile - quartile[total > 0].mean()), np.inf)
        return int(np.argmin(distance))
    return int(np.argmax(root))


def _factor(row: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    # Libraries over the features that both have, so that missing ones do not look like depth.
    both = ~(np.isnan(row) | np.isnan(reference))
    observed, expected = row[both], reference[both]
    library, library_reference = observed.sum(), expected.sum()
    positive = (observed > 0) & (expected > 0)
    observed, expected = observed[positive], expected[positive]
    if observed.size == 0:
        return 1.0
    share, share_reference = observed / library, expected / library_reference
    m = np.log2(share / share_reference)
    a = 0.5 * np.log2(share * share_reference)
    if np.abs(m).max() < 1e-6:
        return 1.0
    variance = (1 - share) / observed + (1 - share_reference) / expected
    kept = _central(m, _TRIM_M) & _central(a, _TRIM_A) & (variance > 0)
    if not kept.any():
        return 1.0
    return float(2 ** np.average(m[kept], weights=1 / variance[kept]))


def _central(values: NDArray[np.float64], trim: float) -> NDArray[np.bool_]:
    from scipy.stats import rankdata  # takes a second to import

    rank = rankdata(values)
    cut = np.floor(values.size * trim) + 1
    return np.asarray((rank >= cut) & (rank <= values.size + 1 - cut))
