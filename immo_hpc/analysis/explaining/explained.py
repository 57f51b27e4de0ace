"""What is explained: a score of the label that changes with the values of each layer.

Two of them exist: a classifier on the latent (`immo_hpc.analysis.explaining.latent`) and the
product of experts on layers and latent (`immo_hpc.analysis.explaining.fused`). What judges an
attribution - stability, permutation, leaving features out - asks for nothing else.

Legend of shapes: ``row`` counts the samples that have a layer, ``person``, ``column`` as in
`immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.gradients import Attributions
from immo_hpc.data.prepared import PreparedCohort

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LayerEffect:
    """How scores of people follow from the values of one layer.

    Attributes:
        values: Values of the layer, NaN = missing, ``(row, feature)``, float32.
        change: From the place of a feature and other values of it, ``(repeat, row)``, to what
            changes in each row's score, ``(repeat, row, column)``.
        share: Weight of a row's score in that of its person, ``(row,)``.
    """

    values: NDArray[np.float32]
    change: Callable[[int, NDArray[Any]], Array]
    share: Array


class Explained(Protocol):
    """A label score that can be explained."""

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def title(self) -> str:
        """Name for people."""

    @property
    def baseline_note(self) -> str:
        """What the baseline is besides z-scores, to be added to its words."""

    @property
    def training_auc(self) -> float:
        """Subject-level AUC of cross-validation inside the training subjects."""

    def attribute(
        self, samples: PreparedCohort, target: NDArray[np.int64], steps: int
    ) -> Attributions:
        """Attributions of samples' scores; ``target`` as in `gradients.attribute`."""

    def scores(self, samples: PreparedCohort) -> Array:
        """Score of each sample's person, by sample, ``(sample, column)``."""

    def effect(self, samples: PreparedCohort, layer: str) -> LayerEffect:
        """How the scores of the people behind ``samples`` follow from a layer's values."""

    def refits(self) -> Iterator[Explained]:
        """The same with its classifiers fitted to folds of the training subjects."""

    def sanity(self, num_draws: int) -> Iterator[Explained]:
        """Models that cannot have learnt what this one has; see `sanity_title`."""

    @property
    def sanity_title(self) -> str:
        """What these models are, in words."""
