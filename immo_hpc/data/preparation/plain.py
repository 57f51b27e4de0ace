"""Continuous and binary layers: taken as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.preparation.transform import Transform


@dataclass(frozen=True, eq=False)
class Plain(Transform):
    """The identity; the scale of every row is 1."""

    def forward(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values themselves; see `Transform`."""
        return values, np.ones(len(values))

    def inverse(
        self, values: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The values themselves; see `Transform`."""
        return values
