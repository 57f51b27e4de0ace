"""Choosing a setting of an imputer inside the training subjects, by what it foretells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.compare.contender import Learnt, Table
from immo_hpc.analysis.hiding import learning_sides
from immo_hpc.data.hiding import has_both, hide_values
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, measured_layers

_HIDDEN_SHARE = 0.1

LayerModel = Callable[[PreparedCohort, str], Table]
ValuesModel = Callable[[PreparedCohort], Mapping[str, Table]]


@dataclass(frozen=True)
class Candidate:
    """An imputer under one setting, fitted to the train side; see `Learnt`."""

    setting: str
    layer: LayerModel
    values: ValuesModel | None = None


def sides(training: PreparedCohort, seed: int) -> tuple[PreparedCohort, PreparedCohort]:
    """Train samples to fit to, and samples of other subjects to choose by."""
    train, tuning = learning_sides(training, seed)
    return training.take(train), training.take(tuning)


def tuned(candidates: Sequence[Candidate], tuning: PreparedCohort, seed: int) -> tuple[Learnt, int]:
    """The best candidate for hidden layers and the best for hidden values.

    Layers count alike, whatever their number of features. Where nothing can be scored the
    middle candidate is taken.

    Returns:
        What was learnt, and the place of the candidate that is best for hidden layers.
    """
    layer = _best([_layer_error(item.layer, tuning) for item in candidates])
    chosen = candidates[layer]
    answers = {item.setting: item.values for item in candidates if item.values is not None}
    if not answers:
        return Learnt(layer=chosen.layer, setting=chosen.setting), layer
    generator = np.random.default_rng([seed, *b"tuning"])
    shown, hidden = hide_values(tuning, _HIDDEN_SHARE, generator)
    place = _best([_values_error(model, shown, hidden) for model in answers.values()])
    name, values = list(answers.items())[place]
    setting = f"layers: {chosen.setting}, values: {name}"
    return Learnt(layer=chosen.layer, values=values, setting=setting), layer


def hidden_layers(cohort: PreparedCohort) -> Iterator[tuple[str, PreparedCohort, Table]]:
    """Layer by layer the samples that have another one too, without it, and its values."""
    for name in measured_layers(cohort):
        place = has_both(cohort, name)
        if len(place):
            held = cohort.take(place)
            yield name, held.without(name, name + SUFFIX), held.wide([name])


def _layer_error(model: LayerModel, cohort: PreparedCohort) -> float:
    errors = [_error(model(shown, name), y) for name, shown, y in hidden_layers(cohort)]
    return float(np.mean(errors)) if errors else float("nan")


def _values_error(
    model: ValuesModel, shown: PreparedCohort, hidden: Mapping[str, NDArray[np.float32]]
) -> float:
    said = model(shown)
    errors = [
        _error(said[name][layer.rows], hidden[name])
        for name, layer in shown.layers.items()
        if np.isfinite(hidden[name]).any()
    ]
    return float(np.mean(errors)) if errors else float("nan")


def _error(said: Table, truth: Table) -> float:
    """Squared error relative to that of saying 0."""
    scored = np.isfinite(truth)
    known = np.where(scored, truth, 0).astype(np.float64)
    return float(((np.where(scored, said, 0) - known) ** 2).sum() / max((known**2).sum(), 1e-12))


def _best(errors: Sequence[float]) -> int:
    known = [place for place, error in enumerate(errors) if np.isfinite(error)]
    return min(known, key=lambda place: errors[place]) if known else len(errors) // 2
