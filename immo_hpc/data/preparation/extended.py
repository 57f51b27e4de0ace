"""Features that joined a layer later, on the scale that the layer already has.

A fitted layer is never fitted again: its old features keep their parameters, so every stored
value stays as it is to the last bit. What joins is expressed against the old features of the
same row: log-ratios against their centre, counts per million of their effective library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.composition import ZERO_SHARE, Composition
from immo_hpc.data.preparation.counts import Counts
from immo_hpc.data.preparation.intensity import OFFSET_SHARE, Intensity
from immo_hpc.data.preparation.transform import Transform, decode

# Proportions up to here, in units of what stands for a zero, count as zero (`composition`).
_SEEN_ABOVE = ZERO_SHARE**-0.5


@dataclass(frozen=True, eq=False)
class Extended(Transform):
    """A fitted transform and the features that joined after it.

    The first ``num_base`` features are those of ``base``, and only they decide the scale of
    a row. A row in which none of them was measured cannot be expressed on the scale of a
    composition, of counts or of quantile-normalised intensities, and counts as not measured;
    in a row whose old features are all 0, what joined is missing.

    Attributes:
        base: Transform of the features that were there first.
        num_base: Their number.
        limit: One number for each feature that joined, ``(joined feature,)``: what stands for
            a zero, as a proportion of the old features' total (composition); the offset,
            original units (intensity); unused (other kinds).
    """

    base: Transform
    num_base: int
    limit: NDArray[np.float64]

    def forward(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Old features as ``base`` has them, then what joined; see `Transform`."""
        # Memory in the same order as without the others, so that sums are rounded alike.
        old = values[:, : self.num_base].copy(order="K")
        transformed = np.full_like(values, np.nan)
        scale = np.ones(len(values))
        held = ~np.isnan(old).all(axis=1)
        if held.all():
            transformed[:, : self.num_base], scale = self.base.forward(old)
        elif held.any():
            transformed[held, : self.num_base], scale[held] = self.base.forward(old[held])
        known = np.where(held, scale, np.nan)
        joined = values[:, self.num_base :]
        transformed[:, self.num_base :] = self._joined(joined, old, transformed, known)
        return transformed, scale

    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Original units of old features and of what joined; see `Transform`."""
        old, joined = values[:, : self.num_base].copy(order="K"), values[:, self.num_base :]
        restored = self.base.inverse(old, scale)
        if isinstance(self.base, Composition):
            with np.errstate(over="ignore"):
                proportion = np.exp(joined + _row_centre(restored, old, scale)[:, None])
            seen = ~(proportion <= self.limit * _SEEN_ABOVE)
            joined = np.where(seen, proportion, 0.0) * scale[:, None]
        elif isinstance(self.base, Intensity):
            joined = Intensity(1.0, self.limit, np.empty(0)).inverse(joined, scale)
        else:
            joined = self.base.inverse(joined, scale)
        return np.concatenate([restored, joined], axis=1)

    def _joined(
        self,
        joined: NDArray[np.float64],
        old: NDArray[np.float64],
        transformed: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        base = self.base
        if isinstance(base, Composition):
            log = transformed[:, : self.num_base]
            centre = _row_centre(base.inverse(log, scale), log, scale)[:, None]
            proportion = _per_scale(joined, scale)
            seen = proportion > self.limit * _SEEN_ABOVE
            replaced = np.log(np.where(seen, proportion, self.limit)) - centre
            return np.where(np.isnan(proportion), np.nan, replaced)
        if isinstance(base, Counts):
            return np.log2(1e6 * _per_scale(joined, scale) + base.pseudo)
        if isinstance(base, Intensity):
            log = np.log2(joined + self.limit)
            if not base.reference.size:
                return log
            within = np.log2(old + base.offset)
            rows = zip(log, within, strict=True)
            placed = [_on_reference(*row, base.reference) for row in rows]
            return np.array(placed).reshape(log.shape)
        return joined

    def to_dict(self) -> dict[str, Any]:
        """Parameters as JSON values; see `Transform`."""
        return {
            "base": self.base.to_dict(),
            "num_base": self.num_base,
            "limit": [float(entry) for entry in self.limit],
        }

    @classmethod
    def read(cls, parameters: Mapping[str, Any], base: type[Transform]) -> Self:
        """The transform that `to_dict` described, over one of type ``base``."""
        inner = base.from_dict(parameters["base"])
        limit = np.asarray(decode(parameters["limit"]))
        return cls(inner.median_scale, inner, parameters["num_base"], limit)


def extend(transform: Transform, num_features: int, smallest: NDArray[np.float64]) -> Extended:
    """Let features join a fitted transform.

    Args:
        transform: Fitted transform, itself extended or not.
        num_features: Features it has.
        smallest: Smallest training value above 0 of each feature that joins, as
            `smallest_joined` gives it, ``(joined feature,)``.
    """
    base, num_base = _base(transform, num_features)
    earlier = transform.limit if isinstance(transform, Extended) else np.empty(0)
    limit = np.zeros(len(smallest))
    if isinstance(base, Composition):
        limit = ZERO_SHARE * smallest
    elif isinstance(base, Intensity):
        limit = np.where(np.isfinite(smallest), OFFSET_SHARE * smallest, 1.0)
    limits = np.concatenate([earlier, limit])
    return Extended(base.median_scale, base, num_base, limits)


def num_deciding(transform: Transform, num_features: int) -> int:
    """How many features, the first ones, decide whether a row counts as measured."""
    if isinstance(transform, Extended) and _needs_base(transform.base):
        return transform.num_base
    return num_features


def expressible(
    transform: Transform, num_features: int, values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Rows in which features that join get a value, ``(row,)``.

    Args:
        transform: Fitted transform, itself extended or not.
        num_features: Features it has.
        values: ``(row, feature)``, original units: those features, then what joins.
    """
    base, num_base = _base(transform, num_features)
    if not _needs_base(base):
        return np.ones(len(values), dtype=np.bool_)
    old = values[:, :num_base]
    held = np.flatnonzero(~np.isnan(old).all(axis=1))
    found = np.zeros(len(values), dtype=np.bool_)
    found[held] = base.forward(old[held])[1] > 0
    return found


def smallest_joined(
    transform: Transform, num_features: int, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Smallest value above 0 of each feature that joins, ``(joined feature,)``; infinite if none.

    Original units; of a composition, proportions of the old features' total. Arguments as
    `expressible`, whose rows alone are looked at.
    """
    base, num_base = _base(transform, num_features)
    values = values[expressible(transform, num_features, values)]
    joined = values[:, num_features:]
    if isinstance(base, Composition) and len(values):
        joined = _per_scale(joined, base.forward(values[:, :num_base])[1])
    return np.asarray(np.where(joined > 0, joined, np.inf).min(axis=0, initial=np.inf))


def _base(transform: Transform, num_features: int) -> tuple[Transform, int]:
    if isinstance(transform, Extended):
        return transform.base, transform.num_base
    return transform, num_features


def _needs_base(base: Transform) -> bool:
    relative = isinstance(base, Composition | Counts)
    return relative or (isinstance(base, Intensity) and base.reference.size > 0)


def _per_scale(values: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / np.where(scale > 0, scale, np.nan)[:, None]


def _row_centre(
    restored: NDArray[np.float64], log: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each row's log proportions were lowered by, ``(row,)``; NaN for a scale of 0.

    ``restored`` are values that came back from ``log``: the largest of a row is no replaced
    zero, so its log proportion is known on both sides.
    """
    largest = np.where(np.isnan(restored), -np.inf, restored).argmax(axis=1)[:, None]
    top = np.take_along_axis(restored, largest, axis=1)[:, 0]
    top = np.where((scale > 0) & (top > 0), top, np.nan)
    return np.asarray(np.log(top / scale) - np.take_along_axis(log, largest, axis=1)[:, 0])


def _on_reference(
    joined: NDArray[np.float64], within: NDArray[np.float64], reference: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Put what joined where old features of the same intensity in the same row were put.

    Args:
        joined: Log intensities of what joined, ``(joined feature,)``.
        within: Log intensities of the row's old features, ``(old feature,)``.
        reference: Their quantiles after normalisation, as `Intensity` has them.
    """
    old = np.sort(within[~np.isnan(within)])
    if old.size == 0:
        return np.full_like(joined, np.nan)
    distinct, first, count = np.unique(old, return_index=True, return_counts=True)
    position = np.interp(joined, distinct, (first + count / 2) / old.size)
    placed = np.interp(position, (np.arange(reference.size) + 0.5) / reference.size, reference)
    return np.where(np.isnan(joined), np.nan, placed)
