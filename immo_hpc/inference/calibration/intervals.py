"""How far what a model says may be from the truth, by layer, feature and level.

Legend of shapes: ``level`` counts `LEVELS`, ``feature`` one layer's features, ``value`` the hidden
values of people held out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.errors import UsageError

# Shares of new values that an interval may be asked to hold.
LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Offsets:
    """How far the ends of an interval are from what the model says.

    Attributes:
        lower: At most 0, ``(feature,)``, float32, on the scale of
            `immo_hpc.data.preparation.alone`; NaN where nothing is known.
        upper: At least 0, likewise.
    """

    lower: NDArray[np.float32]
    upper: NDArray[np.float32]


@dataclass(frozen=True)
class Spread:
    """The offsets of one layer at every level.

    Attributes:
        lower: ``(level, feature)``, float32.
        upper: ``(level, feature)``, float32.
        num_subjects: People that the spread rests on.
        num_values: Their hidden values.
    """

    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    num_subjects: int
    num_values: int

    def at(self, level: float) -> Offsets:
        """The offsets of one level, one of `LEVELS` (`place_of`)."""
        place = place_of(level)
        return Offsets(self.lower[place], self.upper[place])


def place_of(level: float) -> int:
    """Place of a level in `LEVELS`.

    Raises:
        UsageError: If it is none of them.

    Example:
        >>> LEVELS[place_of(0.9)]
        0.9
    """
    for place, known in enumerate(LEVELS):
        if abs(known - level) < _ROUNDING:
            return place
    message = (
        f"an interval is known for {', '.join(f'{known:g}' for known in LEVELS)}; found {level:g}."
    )
    raise UsageError(message)
