"""What a method that is compared must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.methods import Method
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort

Task = Literal["label", "layers", "values", "revisited"]
TASKS: tuple[Task, ...] = ("label", "layers", "values")
# With other visits; the label is scored by person in any case.
VISITS_TASKS: tuple[Task, ...] = ("layers", "values", "revisited")
Family = Literal["simple", "peer", "immo"]
Table = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LabelTask:
    """The label as a method gets it.

    Attributes:
        cohort: The shown samples of all sides.
        data: Which of them are labelled, and how.
        folds: Folds inside the training subjects, to choose settings by.
        seed: Seed of estimators that draw.
    """

    cohort: PreparedCohort
    data: LabelledSamples
    folds: list[Fold]
    seed: int


@dataclass(frozen=True)
class Learnt:
    """What a method learnt from the training samples; None where it has no answer.

    Attributes:
        label: A way to score the labelled samples; it may fit to places of training only.
        layer: From samples without a layer, and its name, to that layer,
            ``(sample, feature)``, z-scores.
        values: From samples to what the method says about each layer's values, by layer
            ``(sample, feature)``; looked at only where a value is missing.
        setting: What was chosen inside the training subjects, as text.
    """

    label: Callable[[LabelTask], Method] | None = None
    layer: Callable[[PreparedCohort, str], Table] | None = None
    values: Callable[[PreparedCohort], Mapping[str, Table]] | None = None
    setting: str = ""


@dataclass(frozen=True)
class Contender:
    """A method by name.

    Attributes:
        name: Short name, as typed.
        title: Name for people.
        family: 'simple' methods are the bar; 'peer' and 'immo' are measured against them.
        tasks: What it can do. 'revisited', a layer that a sample lacks and another visit of the
            person has, is asked of all that can do 'layers'.
        learn: From the training samples (their split says which are for validation) and the
            configuration to what was learnt. It never sees a test sample.
        needs: Package it cannot do without, beyond what immo-hpc installs; empty if none.
    """

    name: str
    title: str
    family: Family
    tasks: tuple[Task, ...]
    learn: Callable[[PreparedCohort, ImmoConfig], Learnt]
    needs: str = ""

    def can(self, task: str) -> bool:
        """Whether it can be asked ``task``."""
        return task in self.tasks or (task == "revisited" and "layers" in self.tasks)
