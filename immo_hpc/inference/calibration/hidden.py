"""What a model says wrong about values it is not shown, sample by sample.

The same as the evaluation hides (`immo_hpc.analysis.hiding`): a share of the measured values of
all layers at once, then each layer whole in the samples that have another one. With other visits
the layer is hidden in these too, and then, for people who have it at another one, in one visit at
a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.hiding import has_both, hide_values
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.preparation.alone import comparable
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, is_visits, with_visits, without_visits

Task = Literal["values", "layers", "revisited"]
TASKS: tuple[Task, ...] = ("values", "layers", "revisited")
# What is looked at beside the sample itself: nothing, or other visits of the person.
Mode = Literal["plain", "visits"]
MODES: tuple[Mode, ...] = ("plain", "visits")
HIDDEN_SHARE = 0.2


def wider_task(task: Task) -> Task:
    """The task that knows less of a sample: of 'revisited' it is 'layers', else the same."""
    return "layers" if task == "revisited" else task


class Foreteller(Protocol):
    """Anything that foretells layers, `immo_hpc.inference.TrainedModel` above all."""

    @property
    def preparation(self) -> Preparation:
        """From original units to z-scores and back."""

    def reconstruct(
        self, cohort: PreparedCohort, layers: Sequence[str] | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """By layer, z-scores ``(sample, feature)`` for all samples of ``cohort``."""


@dataclass(frozen=True)
class HiddenErrors:
    """Errors of one layer's hidden values.

    Attributes:
        task: 'values' (single ones were hidden), 'layers' (the whole layer was, in all visits of a
            person), or 'revisited' (it was, and stayed at another visit).
        layer: Name of the layer.
        rows: Place of each row in the samples, ``(row,)``, int64, increasing.
        error: Truth minus what was said, ``(row, feature)``, float32, on the scale of
            `immo_hpc.data.preparation.alone`; NaN where nothing was hidden.
    """

    task: Task
    layer: str
    rows: NDArray[np.int64]
    error: NDArray[np.float32]


def mode_of(cohort: PreparedCohort) -> Mode:
    """'visits' if layers of other visits stand beside those of the cohort."""
    return "visits" if any(map(is_visits, cohort.layers)) else "plain"


def hidden_errors(model: Foreteller, cohort: PreparedCohort, seed: int) -> Iterator[HiddenErrors]:
    """Errors of the model where measured values are hidden from it.

    Args:
        model: The model.
        cohort: Prepared samples; ones it was not trained on, if they are to say anything. With
            layers of other visits, the model is shown these too, of what is not hidden.
        seed: Seed of the single values that are hidden.

    Yields:
        Each layer's errors in both tasks, where anything could be hidden.
    """
    beside = with_visits if mode_of(cohort) == "visits" else _alone
    cohort = without_visits(cohort)
    shown, hidden = hide_values(cohort, HIDDEN_SHARE, np.random.default_rng(seed))
    said = model.reconstruct(beside(shown))
    for name, layer in cohort.layers.items():
        is_hidden = np.isfinite(hidden[name])
        # Rows of which nothing is left say nothing about their own scale.
        usable = is_hidden.any(axis=1) & np.isfinite(shown.layers[name].values).any(axis=1)
        filled = np.where(is_hidden, said[name][layer.rows], layer.values)[usable]
        error = _difference(model, name, layer.values[usable], filled)
        error[~is_hidden[usable]] = np.nan
        if len(error):
            yield HiddenErrors("values", name, layer.rows[usable], error)
    everything = beside(cohort)
    for name in cohort.layers:
        places = has_both(cohort, name)
        yield from _whole(model, everything, "layers", name, places, (name, name + SUFFIX))
        if name + SUFFIX in everything.layers:
            visited = np.intersect1d(places, everything.layers[name + SUFFIX].rows)
            yield from _whole(model, everything, "revisited", name, visited, (name,))


def among(hidden: HiddenErrors, chosen: NDArray[np.bool_]) -> HiddenErrors | None:
    """The errors of some samples alone; None if there is none of theirs.

    Args:
        hidden: Errors of a layer.
        chosen: Which samples, ``(sample,)``.
    """
    is_chosen = chosen[hidden.rows]
    rows, error = hidden.rows[is_chosen], hidden.error[is_chosen]
    return replace(hidden, rows=rows, error=error) if len(rows) else None


def _whole(
    model: Foreteller,
    cohort: PreparedCohort,
    task: Task,
    name: str,
    places: NDArray[np.int64],
    away: Sequence[str],
) -> Iterator[HiddenErrors]:
    """Errors of a whole layer of the samples at ``places``, without the layers ``away``."""
    if len(places):
        part = cohort.take(places)
        said = model.reconstruct(part.without(*away), [name])
        error = _difference(model, name, part.layers[name].values, said[name])
        yield HiddenErrors(task, name, places, error)


def _alone(cohort: PreparedCohort) -> PreparedCohort:
    return cohort


def _difference(
    model: Foreteller,
    name: str,
    truth: NDArray[np.float32],
    said: NDArray[np.floating[Any]],
) -> NDArray[np.float32]:
    layer = model.preparation.layers[name]
    return np.asarray(comparable(layer, truth) - comparable(layer, said), dtype=np.float32)
