"""Counts: log2 of counts per million, libraries scaled by TMM factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.rows import Block, TrainingRows
from immo_hpc.data.preparation.statistics import (
    Statistics,
    merge_by,
    merge_lists,
    merge_means,
    prefixed,
)
from immo_hpc.data.preparation.tmm import choose_reference, row_richness, tmm_factors
from immo_hpc.data.preparation.transform import (
    Transform,
    measured_share,
    median_positive,
    profile_of,
    profile_statistics,
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
        library = _library(values, self.profile)
        if self.reference.size == 0:
            return library
        return np.asarray(library * tmm_factors(values, self.reference) / self.normalizer)

    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Counts as floats, at least 0; see `Transform`."""
        per_million = np.exp2(values) - self.pseudo
        per_million = np.where(per_million < _ROUNDING * self.pseudo, 0.0, per_million)
        return np.asarray(per_million * scale[:, None] / 1e6)


def fit_counts(rows: TrainingRows, *, tmm: bool) -> Counts:
    """Fit to training rows; every feature is positive in some row."""

    def looks(block: Block) -> Statistics:
        richness = row_richness(block.values) if tmm else {}
        places = {"row.place": block.places}
        return prefixed("share.", profile_statistics(block)) | prefixed("row.", richness) | places

    merge = merge_by({"share.": merge_means, "row.": merge_lists})
    found = rows.learn("profile", looks, merge)
    profile = profile_of({"mean": found["share.mean"]})
    reference = np.empty(0)
    if tmm:
        chosen = choose_reference(*(found[f"row.{name}"] for name in ("total", "quartile", "root")))
        reference = rows.row(int(found["row.place"][chosen]))

    def libraries(block: Block) -> Statistics:
        factor = tmm_factors(block.values, reference) if tmm else np.ones(len(block.values))
        return {"library": _library(block.values, profile), "factor": factor}

    found = rows.learn("library", libraries, merge_lists)
    normalizer = float(np.exp(np.log(found["factor"]).mean()))
    median = median_positive(found["library"] * found["factor"] / normalizer)
    return Counts(median, PSEUDO_COUNT * 1e6 / median, profile, reference, normalizer)


def _library(values: NDArray[np.float64], profile: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.nansum(values, axis=1)
    return np.asarray(total / measured_share(~np.isnan(values), profile))
