"""What was learnt from people held out: intervals by layer, and distances of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from immo_hpc.inference.calibration.distance import Distance
from immo_hpc.inference.calibration.hidden import TASKS, Mode, Task, wider_task
from immo_hpc.inference.calibration.intervals import Offsets, Spread, place_of


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
            mode: What the model is shown beside the sample. Without people who came more than
                once nothing is known of other visits, and the wider plain ends are given.

        Raises:
            UsageError: If ``level`` is not one of `LEVELS`.
        """
        place_of(level)
        unknown = np.full(self.num_features[layer], np.nan, dtype=np.float32)
        found = {}
        for task in TASKS:
            spread = self._spread(mode, task, layer)
            found[task] = Offsets(unknown, unknown) if spread is None else spread.at(level)
        return found

    def unknown(self, layers: Sequence[str] | None = None, mode: Mode = "plain") -> list[str]:
        """Which of the layers (all if None) nothing is known of, and in which task, in words."""
        words: dict[Task, str] = {"values": "single values", "layers": "the whole layer"}
        return [
            f"{name} ({words[task]})"
            for name in (self.num_features if layers is None else layers)
            for task in words
            if self._spread(mode, task, name) is None
        ]

    def _spread(self, mode: Mode, task: Task, layer: str) -> Spread | None:
        # Where nobody could show more, a layer known at another visit is one that is not known.
        wider = wider_task(task)
        for at in ((mode, task), (mode, wider), ("plain", wider)):
            if (*at, layer) in self.spreads:
                return self.spreads[(*at, layer)]
        return None
