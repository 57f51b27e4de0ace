"""What was learnt from people held out: intervals by layer, and distances of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from immo_hpc.inference.calibration.distance import Distance
from immo_hpc.inference.calibration.hidden import TASKS, Mode, Task
from immo_hpc.inference.calibration.intervals import Offsets, Spread


@dataclass(frozen=True)
class Calibration:
    """What the held-out people say about a model.

    Attributes:
        spreads: Offsets of intervals by mode, task and layer; absent where nothing could be
            hidden.
        distance: How far a sample is from those the model knows.
        num_features: Features by layer of the model.
    """

    spreads: Mapping[tuple[Mode, Task, str], Spread]
    distance: Distance
    num_features: Mapping[str, int]

    def offsets(self, layer: str, level: float, mode: Mode = "plain") -> dict[Task, Offsets]:
        """Offsets of a layer by task; NaN where nothing is known.

        Args:
            layer: Layer of the model.
            level: One of `LEVELS`.
            mode: What the model is shown beside the sample.

        Raises:
            UsageError: If ``level`` is not one of `LEVELS`.
        """
        unknown = np.full(self.num_features[layer], np.nan, dtype=np.float32)
        return {
            task: self.spreads[mode, task, layer].at(level)
            if (mode, task, layer) in self.spreads
            else Offsets(unknown, unknown)
            for task in TASKS
        }

    def unknown(self, layers: Sequence[str] | None = None, mode: Mode = "plain") -> list[str]:
        """Which of the layers (all if None) nothing is known of, and in which task, in words."""
        words = {"values": "single values", "layers": "the whole layer"}
        return [
            f"{name} ({words[task]})"
            for name in (self.num_features if layers is None else layers)
            for task in TASKS
            if (mode, task, name) not in self.spreads
        ]
