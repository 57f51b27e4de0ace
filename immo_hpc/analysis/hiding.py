"""What is hidden from an imputer, and what it, ridge and the mean say about it.

Legend of shapes: ``item`` counts the samples scored, ``feature`` one layer's features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.results import Task
from immo_hpc.analysis.ridge import predict_layer, predict_values
from immo_hpc.data.hiding import has_both, hide_values
from immo_hpc.data.prepared import PreparedCohort

_MOST_ROWS = 4000  # Ridge decomposes a (row, row) matrix: 128 MB and seconds at this size.


class Imputer(Protocol):
    """Anything that foretells layers, `immo_hpc.inference.TrainedModel` above all."""

    def reconstruct(
        self, cohort: PreparedCohort, layers: Sequence[str] | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """By layer, z-scores ``(sample, feature)`` for all samples of ``cohort``."""


@dataclass(frozen=True)
class Hidden:
    """What was hidden in one layer, and what each method says about it.

    Attributes:
        task: Which task.
        layer: Name of the layer.
        features: Its features, ``(feature,)``.
        truth: Hidden z-scores, ``(item, feature)``, NaN where nothing was hidden.
        subjects: Subject of each item, ``(item,)``.
        said: By method, predictions ``(item, feature)``.
    """

    task: Task
    layer: str
    features: tuple[str, ...]
    truth: NDArray[np.float32]
    subjects: NDArray[np.str_]
    said: Mapping[str, NDArray[np.floating[Any]]]


def all_hidden(model: Imputer, cohort: PreparedCohort, share: float, seed: int) -> Iterator[Hidden]:
    """Everything that is hidden from the test samples: values first, then layer by layer.

    Args:
        model: The imputer.
        cohort: Prepared samples with their split.
        share: Share of the measured values to hide in task 'values'.
        seed: Seed of what is hidden.
    """
    yield from _hidden_values(model, cohort, share, seed)
    for name in cohort.layers:
        hidden = _hidden_layer(model, cohort, name, seed)
        if hidden is not None:
            yield hidden


def _hidden_values(
    model: Imputer, cohort: PreparedCohort, share: float, seed: int
) -> Iterator[Hidden]:
    generator = np.random.default_rng(seed)
    train, tuning = (cohort.take(side) for side in learning_sides(cohort, seed))
    test = cohort.take(cohort.indices("test"))
    tuning_shown, tuning_hidden = hide_values(tuning, share, generator)
    shown, hidden = hide_values(test, share, generator)
    reconstructed = model.reconstruct(shown)
    x, tuning_x, test_x = (filled(part) for part in (train, tuning_shown, shown))
    place = columns(cohort)
    for name, layer in test.layers.items():
        rows = at_most(train.layers[name].rows, seed)
        truth = hidden[name]
        if not len(rows) or not np.isfinite(truth).any():
            continue
        tuned = tuning.layers[name].rows
        target = np.full((len(tuned), x.shape[1]), np.nan, dtype=np.float32)
        target[:, place[name]] = tuning_hidden[name]
        ridge = predict_values(x[rows], (tuning_x[tuned], target), test_x[layer.rows])
        said = {
            "immo": reconstructed[name][layer.rows],
            "ridge": ridge[:, place[name]],
            "mean": np.zeros_like(truth),
        }
        yield Hidden("values", name, layer.features, truth, _subjects(test, layer.rows), said)


def _hidden_layer(model: Imputer, cohort: PreparedCohort, name: str, seed: int) -> Hidden | None:
    usable = has_both(cohort, name)
    test = np.intersect1d(cohort.indices("test"), usable)
    train, tuning = (np.intersect1d(side, usable) for side in learning_sides(cohort, seed))
    train = at_most(train, seed)
    if not len(test) or not len(train):
        return None
    others = [other for other in cohort.layers if other != name]
    source, target = np.nan_to_num(cohort.wide(others)), cohort.wide([name])
    ridge = predict_layer(
        source[train],
        np.nan_to_num(target[train]),
        (source[tuning], target[tuning]),
        source[test],
    )
    shown = cohort.take(test).without(name)
    truth = target[test]
    said = {
        "immo": model.reconstruct(shown, [name])[name],
        "ridge": ridge,
        "mean": np.zeros_like(truth),
    }
    features = cohort.layers[name].features
    return Hidden("layers", name, features, truth, _subjects(cohort, test), said)


def learning_sides(
    cohort: PreparedCohort, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a method is fitted and where it chooses: train and validation samples.

    Without validation subjects a quarter of the train subjects takes their place.
    """
    train, validation = cohort.indices("train"), cohort.indices("validation")
    if len(validation):
        return train, validation
    owner = _subjects(cohort, train)
    names = np.random.default_rng(seed).permutation(np.unique(owner))
    is_tuning = np.isin(owner, names[: max(1, len(names) // 4)])
    return train[~is_tuning], train[is_tuning]


def at_most(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """``rows``, or a draw of as many as a (row, row) matrix can be decomposed for."""
    if len(rows) <= _MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _MOST_ROWS, replace=False))


def filled(cohort: PreparedCohort) -> NDArray[np.float32]:
    """All layers side by side, what is missing at the training mean, ``(sample, feature)``."""
    return np.nan_to_num(cohort.wide())


def columns(cohort: PreparedCohort) -> dict[str, slice]:
    """Where each layer stands in `PreparedCohort.wide`."""
    places, start = {}, 0
    for name, layer in cohort.layers.items():
        places[name] = slice(start, start + len(layer.features))
        start += len(layer.features)
    return places


def _subjects(cohort: PreparedCohort, place: NDArray[np.int64]) -> NDArray[np.str_]:
    return np.asarray(cohort.subjects.astype(str))[place]
