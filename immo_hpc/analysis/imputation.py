"""Hide-and-score imputation: what a model says about values it was not shown.

Two tasks on the test subjects, each beside the training mean and ridge regression on the
very same hidden values:

- ``values``: a random share of the measured values is hidden, all layers at once;
- ``layers``: one layer at a time is hidden whole, in the samples that have another one.

Legend of shapes: ``item`` counts the samples scored, ``feature`` one layer's features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.accuracy import feature_table, layer_row, pooled_r2
from immo_hpc.analysis.bootstrap import interval
from immo_hpc.analysis.results import ImputationResult, Task
from immo_hpc.analysis.ridge import predict_layer, predict_values
from immo_hpc.analysis.verdicts import imputation_verdict
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError, UsageError

_MOST_ROWS = 4000  # Ridge decomposes a (row, row) matrix: 128 MB and seconds at this size.


class Imputer(Protocol):
    """Anything that foretells layers, `immo_hpc.inference.TrainedModel` above all."""

    def reconstruct(
        self, cohort: PreparedCohort, layers: Sequence[str] | None = None
    ) -> Mapping[str, NDArray[np.float32]]:
        """By layer, z-scores ``(sample, feature)`` for all samples of ``cohort``."""


@dataclass(frozen=True)
class _Hidden:
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


def score_imputation(
    model: Imputer, cohort: PreparedCohort, *, seed: int, hidden_share: float = 0.2
) -> ImputationResult:
    """Hide measured values of the test subjects, impute them, and compare.

    The mean is 0 in z-score units. Ridge is fitted to the train subjects, its penalty chosen
    on the validation subjects, as the model was: for a hidden layer from the features of the
    other layers, for hidden values from all other features of the sample; missing inputs are
    0. It is fitted to the samples that have the layer.

    Args:
        model: The imputer.
        cohort: The prepared samples with their split.
        seed: Seed of what is hidden and of the resamples.
        hidden_share: Share of the measured values to hide in task 'values', in (0, 1).

    Raises:
        UsageError: If ``hidden_share`` is not between 0 and 1.
        CohortError: If there is no split, or no test sample from which anything could be
            hidden.
    """
    if not 0 < hidden_share < 1:
        message = f"hidden_share: expected a share between 0 and 1, found {hidden_share}."
        raise UsageError(message)
    if cohort.split is None or not len(cohort.indices("test")):
        message = (
            "imputation scores: expected samples on the test side of the split, found none. "
            "Give the cohort that the model was trained on, with split.test_fraction above 0."
        )
        raise CohortError(message)
    rows, tables, differences = [], [], []
    for hidden in _all_hidden(model, cohort, hidden_share, seed):
        at = {"task": hidden.task, "layer": hidden.layer}
        r2 = {
            method: pooled_r2(hidden.truth, said, hidden.subjects, seed)
            for method, said in hidden.said.items()
        }
        for method, said in hidden.said.items():
            table = feature_table(hidden.truth, said, hidden.features)
            row = layer_row(hidden.truth, table, interval(*r2[method]))
            rows.append({**at, "method": method, **row})
            tables.append(pd.DataFrame({**at, "method": method}, index=table.index).join(table))
        gain = interval(r2["immo"][0] - r2["ridge"][0], r2["immo"][1] - r2["ridge"][1])
        differences.append({**at, "r2": gain.value, "lower": gain.lower, "upper": gain.upper})
    if not rows:
        message = (
            "imputation scores: nothing could be hidden and scored, since no test sample has a "
            "layer that training samples have too."
        )
        raise CohortError(message)
    scores, compared = pd.DataFrame(rows), pd.DataFrame(differences)
    return ImputationResult(
        scores=scores,
        features=pd.concat(tables, ignore_index=True),
        differences=compared,
        hidden_share=hidden_share,
        ridge_wins=_ridge_wins(compared),
        verdict=imputation_verdict(scores, compared),
        notices=_notices(scores, cohort),
    )


def _all_hidden(
    model: Imputer, cohort: PreparedCohort, share: float, seed: int
) -> Iterator[_Hidden]:
    yield from _hidden_values(model, cohort, share, seed)
    for name in cohort.layers:
        hidden = _hidden_layer(model, cohort, name, seed)
        if hidden is not None:
            yield hidden


def _hidden_values(
    model: Imputer, cohort: PreparedCohort, share: float, seed: int
) -> Iterator[_Hidden]:
    generator = np.random.default_rng(seed)
    train, tuning = (cohort.take(side) for side in _ridge_sides(cohort, seed))
    test = cohort.take(cohort.indices("test"))
    tuning_shown, tuning_hidden = _hide(tuning, share, generator)
    shown, hidden = _hide(test, share, generator)
    reconstructed = model.reconstruct(shown)
    x, tuning_x, test_x = (_filled(part) for part in (train, tuning_shown, shown))
    columns = _columns(cohort)
    for name, layer in test.layers.items():
        rows = _some(train.layers[name].rows, seed)
        truth = hidden[name]
        if not len(rows) or not np.isfinite(truth).any():
            continue
        tuned = tuning.layers[name].rows
        target = np.full((len(tuned), x.shape[1]), np.nan, dtype=np.float32)
        target[:, columns[name]] = tuning_hidden[name]
        ridge = predict_values(x[rows], (tuning_x[tuned], target), test_x[layer.rows])
        said = {
            "immo": reconstructed[name][layer.rows],
            "ridge": ridge[:, columns[name]],
            "mean": np.zeros_like(truth),
        }
        yield _Hidden("values", name, layer.features, truth, _subjects(test, layer.rows), said)


def _hidden_layer(model: Imputer, cohort: PreparedCohort, name: str, seed: int) -> _Hidden | None:
    has_both = _has_both(cohort, name)
    test = np.intersect1d(cohort.indices("test"), has_both)
    train, tuning = (np.intersect1d(side, has_both) for side in _ridge_sides(cohort, seed))
    train = _some(train, seed)
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
    return _Hidden("layers", name, features, truth, _subjects(cohort, test), said)


def _hide(
    cohort: PreparedCohort, share: float, generator: np.random.Generator
) -> tuple[PreparedCohort, dict[str, NDArray[np.float32]]]:
    """The cohort with a share of its values missing, and those values by layer (else NaN)."""
    layers, hidden = {}, {}
    for name, layer in cohort.layers.items():
        is_hidden = generator.random(layer.values.shape) < share
        layers[name] = replace(layer, values=np.where(is_hidden, np.nan, layer.values))
        hidden[name] = np.where(is_hidden, layer.values, np.float32(np.nan))
    return replace(cohort, layers=layers), hidden


def _has_both(cohort: PreparedCohort, name: str) -> NDArray[np.int64]:
    """Samples that have the layer and at least one other."""
    has_it = np.isin(np.arange(len(cohort.samples)), cohort.layers[name].rows)
    return np.flatnonzero(has_it & (cohort.measured().sum(axis=1) > 1))


def _ridge_sides(cohort: PreparedCohort, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where ridge is fitted and where it chooses its penalty: train and validation samples.

    Without validation subjects a quarter of the train subjects takes their place.
    """
    train, validation = cohort.indices("train"), cohort.indices("validation")
    if len(validation):
        return train, validation
    owner = _subjects(cohort, train)
    names = np.random.default_rng(seed).permutation(np.unique(owner))
    is_tuning = np.isin(owner, names[: max(1, len(names) // 4)])
    return train[~is_tuning], train[is_tuning]


def _some(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(rows) <= _MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, _MOST_ROWS, replace=False))


def _filled(cohort: PreparedCohort) -> NDArray[np.float32]:
    return np.nan_to_num(cohort.wide())


def _columns(cohort: PreparedCohort) -> dict[str, slice]:
    """Where each layer stands in `PreparedCohort.wide`."""
    columns, start = {}, 0
    for name, layer in cohort.layers.items():
        columns[name] = slice(start, start + len(layer.features))
        start += len(layer.features)
    return columns


def _subjects(cohort: PreparedCohort, place: NDArray[np.int64]) -> NDArray[np.str_]:
    return np.asarray(cohort.subjects.astype(str))[place]


def _ridge_wins(differences: pd.DataFrame) -> tuple[tuple[Task, str], ...]:
    behind = differences[differences["r2"] < 0]
    return tuple(zip(behind["task"], behind["layer"], strict=True))


def _notices(scores: pd.DataFrame, cohort: PreparedCohort) -> tuple[str, ...]:
    return tuple(
        f"Layer '{name}' could not be scored {how}."
        for task, how in (
            ("layers", "as a hidden layer: no test or no train sample has it beside another one"),
            ("values", "on hidden values: no test or no train sample has it"),
        )
        for name in cohort.layers
        if not ((scores["task"] == task) & (scores["layer"] == name)).any()
    )
