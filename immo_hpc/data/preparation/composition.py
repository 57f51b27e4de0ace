"""Compositions: zero replacement, then the centred log-ratio (Aitchison 1982).

Only ratios between features mean anything in a composition. The centred log-ratio (CLR) of
a row is ``log y_j - mean_k log y_k``; all it loses is the row's total, which is kept as the
row's ``scale``, so percent and fractions both come back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.rows import Block, TrainingRows
from immo_hpc.data.preparation.statistics import (
    Statistics,
    means,
    merge_by,
    merge_lists,
    merge_means,
    merge_smallest,
    prefixed,
)
from immo_hpc.data.preparation.transform import (
    Transform,
    learn_profile,
    measured_share,
    median_positive,
)

# A zero stands for "below detection": it becomes this share of the smallest positive
# training proportion of its feature (Martin-Fernandez et al. 2003).
ZERO_SHARE = 0.65
# Midway, in logs, between a replaced zero and the smallest positive training proportion.
# Proportions up to here count as zero: rounding, even to float16, does not cross it.
_ZERO_BELOW = ZERO_SHARE**-0.5


@dataclass(frozen=True, eq=False)
class Composition(Transform):
    """Centred log-ratio over the kept features that a row has.

    Proportions at or below ``delta * 0.65**-0.5`` (0.81 of the smallest positive training
    proportion) are taken for zeros and come back as zeros; all others come back unchanged.

    A row that lacks features is closed to the share its features hold in the training
    profile, and its log-ratios are centred where training rows have them. That assumes that
    the absent features hold their average share: where they do not, all values of the row
    are shifted by one common amount, which is the bias left.

    Attributes:
        delta: What stands for a zero, ``(feature,)``, proportion.
        profile: Mean proportion in training rows, ``(feature,)``, sums to 1.
        centre: Mean log-ratio in training rows, ``(feature,)``, natural log.
    """

    delta: NDArray[np.float64]
    profile: NDArray[np.float64]
    centre: NDArray[np.float64]

    def forward(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-ratios of rows, and their totals over the kept features; see `Transform`."""
        measured = ~np.isnan(values)
        share = measured_share(measured, self.profile)
        proportion = _closed(values, share)
        # Not seen: zeros, values below detection and missing ones (NaN compares as False).
        seen = proportion > self.delta * _ZERO_BELOW
        scale = np.where(seen, values, 0.0).sum(axis=1) / share
        divisor = np.where(scale > 0, scale, 1.0)[:, None]
        log = np.log(np.where(seen, values / divisor, self.delta))
        log = np.where(measured, log, np.nan)
        return log - np.nanmean(log - self.centre, axis=1, keepdims=True), scale

    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Close ``exp(values)`` to ``scale``; what is below detection becomes 0.

        Replaced zeros do not count towards the total, but which entries are replaced zeros
        shows only once the factor back to proportions is known. Entries are therefore added
        in the order of their ratio to ``delta``, largest first, until the factor that
        closes those added puts the next one below detection. For values that came from
        `forward` this finds exactly the entries that were not replaced.
        """
        measured = ~np.isnan(values)
        share = measured_share(measured, self.profile)
        log = np.where(measured, values, -np.inf)
        top = log.max(axis=1, keepdims=True, initial=-np.inf)
        power = np.exp(log - np.where(np.isfinite(top), top, 0.0))
        order = np.argsort(-power / self.delta, axis=1, kind="stable")
        power = np.take_along_axis(power, order, axis=1)
        ratio = power / self.delta[order]
        added = np.cumsum(power, axis=1)
        factor = share[:, None] / np.where(added > 0, added, 1.0)
        following = np.concatenate([ratio[:, 1:], np.zeros_like(ratio[:, :1])], axis=1)
        last = np.argmax(factor * following <= _ZERO_BELOW, axis=1)[:, None]
        kept = np.arange(values.shape[1]) <= last
        proportion = np.where(kept, power * np.take_along_axis(factor, last, axis=1), 0.0)
        result = np.empty_like(values)
        np.put_along_axis(result, order, proportion * scale[:, None], axis=1)
        return np.where(measured, result, np.nan)


def fit_composition(rows: TrainingRows) -> Composition:
    """Fit to training rows; every feature is positive in some row."""
    profile = learn_profile(rows)

    def smallest(block: Block) -> Statistics:
        share = measured_share(~np.isnan(block.values), profile)
        proportion = _closed(block.values, share)
        positive = np.where(proportion > 0, proportion, np.inf)
        return {"proportion": positive.min(axis=0, initial=np.inf)}

    delta = ZERO_SHARE * rows.learn("smallest", smallest, merge_smallest)["proportion"]
    plain = Composition(1.0, delta, profile, np.zeros(len(profile)))

    def logs(block: Block) -> Statistics:
        log, scale = plain.forward(block.values)
        return {**prefixed("log.", means(log)), "row.scale": scale}

    merge = merge_by({"log.": merge_means, "row.": merge_lists})
    found = rows.learn("centre", logs, merge)
    centre = found["log.mean"]
    median = median_positive(found["row.scale"])
    return Composition(median, delta, profile, centre - centre.mean())


def _closed(values: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.nansum(values, axis=1)
    return values * (share / np.where(total > 0, total, 1.0))[:, None]
