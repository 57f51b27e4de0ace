"""Intensities: log2 with an offset for zeros, optionally quantile-normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.rows import Block, TrainingRows
from immo_hpc.data.preparation.statistics import Statistics, means, merge_means
from immo_hpc.data.preparation.transform import Transform

# Offset of a feature: this share of its smallest positive training value.
OFFSET_SHARE = 0.5
# Values below this share of the offset are rounding around 0.
_ROUNDING = 1e-4
_MOST_QUANTILES = 1024


@dataclass(frozen=True, eq=False)
class Intensity(Transform):
    """``log2(x + offset)``; with a reference, then the row's quantiles are put on it.

    Quantile normalisation gives every row the same distribution: a value becomes the
    reference's value at the rank it has among the row's measured features. The row's own
    distribution is gone after that, so `inverse` gives the intensity that the value would
    have in a sample with the reference distribution, not the intensity that went in.
    Without it the intensity itself comes back. The scale of every row is 1.

    Attributes:
        offset: Half the smallest positive training value, ``(feature,)``, original units; 1
            for a feature without a positive value.
        reference: Mean quantiles of the training rows at ``(i + 0.5) / n``, increasing,
            ``(n,)``, log2; empty without quantile normalisation.
    """

    offset: NDArray[np.float64]
    reference: NDArray[np.float64]

    def forward(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log intensities; see `Transform`."""
        log = np.log2(values + self.offset)
        if self.reference.size:
            log = np.array([_on_reference(row, self.reference) for row in log]).reshape(log.shape)
        return log, np.ones(len(values))

    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Intensities, at least 0; see the class and `Transform`."""
        result = (np.exp2(values) - self.offset) * scale[:, None]
        return np.where(result < _ROUNDING * self.offset, 0.0, result)


def smallest_positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest value above 0 of each feature, ``(feature,)``; infinite where there is none."""
    return np.asarray(np.where(values > 0, values, np.inf).min(axis=0, initial=np.inf))


def fit_intensity(
    rows: TrainingRows, smallest: NDArray[np.float64], *, quantile: bool
) -> Intensity:
    """Fit to training rows.

    Args:
        rows: The rows; only looked at for ``quantile``.
        smallest: Their smallest positive values, ``(feature,)`` (`smallest_positive`).
        quantile: Whether rows are quantile-normalised.
    """
    offset = np.where(np.isfinite(smallest), OFFSET_SHARE * smallest, 1.0)
    if not quantile:
        return Intensity(1.0, offset, np.empty(0))
    wanted = _positions(min(len(offset), _MOST_QUANTILES))

    def quantiles(block: Block) -> Statistics:
        found = [_quantiles(row, wanted) for row in np.log2(block.values + offset)]
        return means(np.array(found).reshape(-1, wanted.size))

    return Intensity(1.0, offset, rows.learn("quantiles", quantiles, merge_means)["mean"])


def _positions(count: int) -> NDArray[np.float64]:
    return (np.arange(count) + 0.5) / count


def _quantiles(row: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    measured = np.sort(row[~np.isnan(row)])
    return np.interp(wanted, _positions(measured.size), measured)


def _on_reference(row: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    measured = ~np.isnan(row)
    from scipy.stats import rankdata  # takes a second to import

    position = (rankdata(row[measured]) - 0.5) / measured.sum()
    result = np.full_like(row, np.nan)
    result[measured] = np.interp(position, _positions(reference.size), reference)
    return result
