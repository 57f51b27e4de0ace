"""Counts: log2 of counts per million, libraries scaled by TMM factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.tmm import choose_reference, tmm_factors
from immo_hpc.data.preparation.transform import (
    Transform,
    mean_profile,
    measured_share,
    median_positive,
)

# Pseudo-count, in counts of a library of median effective size.
PSEUDO_COUNT = 0.5
# Counts per million below this share of the pseudo-count are rounding around 0.
_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class Counts(Transform):
    """``log2(1e6 * count / effective library size + pseudo)`` over the kept features.

    The effective library size of a row is its sum over the kept features times its TMM
    factor; for a row that lacks features, the sum is divided by the share that its features
    hold in the training profile.

    Attributes:
        pseudo: Pseudo-count, counts per million: half a count in a library of median size.
        profile: Mean proportion in training rows, ``(feature,)``, sums to 1.
        reference: Counts of the TMM reference sample, ``(feature,)``; empty if TMM is off.
        normalizer: Geometric mean of the training rows' TMM factors.
    """

    pseudo: float
    profile: NDArray[np.float64]
    reference: NDArray[np.float64]
    normalizer: float

    def forward(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log counts per million, and effective library sizes; see `Transform`."""
        scale = self.effective_library(values)
        per_million = values * (1e6 / np.where(scale > 0, scale, 1.0))[:, None]
        return np.log2(per_million + self.pseudo), scale

    def effective_library(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Effective library size of each row, ``(row,)``, counts."""
        library = np.nansum(values, axis=1) / measured_share(~np.isnan(values), self.profile)
        if self.reference.size == 0:
            return np.asarray(library)
        return np.asarray(library * tmm_factors(values, self.reference) / self.normalizer)

    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Counts as floats, at least 0; see `Transform`."""
        per_million = np.exp2(values) - self.pseudo
        per_million = np.where(per_million < _ROUNDING * self.pseudo, 0.0, per_million)
        return np.asarray(per_million * scale[:, None] / 1e6)


def fit_counts(values: NDArray[np.float64], *, tmm: bool) -> Counts:
    """Fit to training rows, ``(row, feature)``; every feature is positive in some row."""
    reference = choose_reference(values) if tmm else np.empty(0)
    normalizer = 1.0
    if tmm:
        normalizer = float(np.exp(np.log(tmm_factors(values, reference)).mean()))
    unfinished = Counts(1.0, 1.0, mean_profile(values), reference, normalizer)
    median = median_positive(unfinished.effective_library(values))
    return Counts(median, PSEUDO_COUNT * 1e6 / median, unfinished.profile, reference, normalizer)
