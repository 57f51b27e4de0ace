"""What the transforms of all kinds have in common.

Legend of shapes: ``row`` counts samples that have the layer, ``feature`` its kept features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.rows import Block, TrainingRows
from immo_hpc.data.preparation.statistics import Statistics, means, merge_means


@dataclass(frozen=True, eq=False)
class Transform(ABC):
    """How a layer of one kind gets from original units to a scale fit for z-scores, and back.

    Every row is transformed on its own, by the row and the saved parameters alone, so a new
    sample gets the same values alone as in any company.

    Attributes:
        median_scale: Median ``scale`` of the training rows, original units; stands in for the
            scale of a row in which the layer was not measured.
    """

    median_scale: float

    @abstractmethod
    def forward(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Transform rows.

        Args:
            values: ``(row, feature)``, original units, NaN = missing; every row has at least
                one measured value.

        Returns:
            Transformed values, ``(row, feature)``, NaN where ``values`` is, and the scale of
            each row, ``(row,)``, original units.
        """

    @abstractmethod
    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Undo `forward`: ``(row, feature)`` in original units, NaN where ``values`` is."""

    def to_dict(self) -> dict[str, Any]:
        """Parameters as JSON values; floats keep every bit, NaN becomes None."""
        return {item.name: encode(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, parameters: Mapping[str, Any]) -> Self:
        """The transform that `to_dict` described."""
        decoded: dict[str, Any] = {name: decode(value) for name, value in parameters.items()}
        return cls(**decoded)


def encode(value: NDArray[np.float64] | float) -> list[float | None] | float:
    """An array as a list with None for NaN (JSON has no NaN); a number as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return [None if np.isnan(entry) else float(entry) for entry in value]


def decode(value: list[float | None] | float) -> NDArray[np.float64] | float:
    """What `encode` was given."""
    if not isinstance(value, list):
        return value
    return np.array([np.nan if entry is None else entry for entry in value], dtype=np.float64)


def median_positive(scale: NDArray[np.float64]) -> float:
    """Median of the entries above 0; 1 if there is none."""
    positive = scale[scale > 0]
    return float(np.median(positive)) if positive.size else 1.0


def learn_profile(rows: TrainingRows) -> NDArray[np.float64]:
    """Mean share of each feature in its row's total, ``(feature,)``, summing to 1.

    Tells how much of a row's total is to be expected in the features that were measured.
    """
    return profile_of(rows.learn("profile", profile_statistics, merge_means))


def profile_statistics(block: Block) -> Statistics:
    """Means of the shares in a block, of the rows with a total above 0."""
    total = np.nansum(block.values, axis=1)
    filled = total > 0
    return means(block.values[filled] / total[filled, None])


def profile_of(shares: Statistics) -> NDArray[np.float64]:
    """The profile, from the merged `profile_statistics`."""
    return np.asarray(shares["mean"] / shares["mean"].sum())


def measured_share(
    measured: NDArray[np.bool_], profile: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of a row's total expected in its measured features, ``(row,)``; exactly 1 for all."""
    share = np.where(measured, profile, 0.0).sum(axis=1)
    return np.where(measured.all(axis=1), 1.0, share)
