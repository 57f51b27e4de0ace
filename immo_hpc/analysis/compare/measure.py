"""One method on one trial: what it says, and what it took, in the types of JSON.

Subjects are named in the result, so that resamples of subjects can pair methods and splits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.accuracy import feature_table
from immo_hpc.analysis.bootstrap import Ranked, by_subject
from immo_hpc.analysis.compare.contender import Contender, LabelTask, Learnt, Table
from immo_hpc.analysis.compare.trial import Trial
from immo_hpc.analysis.jsonable import jsonable
from immo_hpc.analysis.labels import LabelledSamples, labelled_samples
from immo_hpc.analysis.methods import Method, Places
from immo_hpc.analysis.platt import Platt, fit_platt
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX

Result = TypeVar("Result")

# Name of the part of the label's scores that holds all labelled test samples.
UNION = "all"


def measure(contender: Contender, trial: Trial, tasks: Sequence[str]) -> dict[str, Any]:
    """Let a method learn from the training samples and answer the tasks it can do.

    Returns:
        ``setting``; ``seconds`` by step ('learn' and each task); and for each task done its
        answers: see `_label`, `_layers`, `_revisited` and `_values`.

    Raises:
        CohortError: If there is nothing to classify.
    """
    seconds: dict[str, float] = {}
    training = trial.training
    learnt = _timed(seconds, "learn", lambda: contender.learn(training, trial.config))
    done: dict[str, Any] = {"setting": learnt.setting, "seconds": seconds}
    answers: Mapping[str, Callable[[Learnt, Trial, dict[str, float]], Any]] = {
        "label": _label,
        "layers": _layers,
        "values": _values,
        "revisited": _revisited,
    }
    for task in tasks:
        if contender.can(task):
            done[task] = answers[task](learnt, trial, seconds)
    return dict(jsonable(done))


def _label(learnt: Learnt, trial: Trial, seconds: dict[str, float]) -> dict[str, Any]:
    """Scores of test subjects: over all their samples, and over those that have each layer.

    In each part ``subject``, class code ``y``, ``scores`` (subject, column) and, with two
    classes, ``probability`` of the second; ``scored`` counts its samples.
    """
    assert learnt.label is not None
    data = labelled_samples(trial.shown)
    task = LabelTask(trial.shown, data, data.folds(trial.seed), trial.seed)
    names = np.asarray(trial.shown.subjects.astype(str))[data.index]
    training, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)

    def work() -> tuple[Method, NDArray[np.float64]]:
        assert learnt.label is not None
        method = learnt.label(task)
        return method, method.scores(training, test)

    method, scores = _timed(seconds, "label", work)
    platt = _platt(method, task) if data.num_classes == 2 else None
    parts = {UNION: _part(scores, test, data, names, platt)}
    measured = trial.shown.measured()[data.index]
    for column, name in enumerate(trial.shown.layers):
        held = test[measured[test, column]]
        if len(held):
            parts[name] = _part(method.scores(training, held), held, data, names, platt)
    return {
        "classes": data.classes,
        "setting": method.setting,
        "training_auc": method.training_auc,
        "parts": parts,
    }


def _part(
    scores: NDArray[np.float64],
    place: Places,
    data: LabelledSamples,
    names: NDArray[np.str_],
    platt: Platt | None,
) -> dict[str, Any]:
    subjects = by_subject(Ranked(scores, data.y[place], data.subject[place]))
    name = dict(zip(data.subject.tolist(), names.tolist(), strict=True))
    known = {} if platt is None else {"probability": platt.probability(subjects.scores[:, 0])}
    return {
        "scored": len(place),
        "subject": [name[code] for code in subjects.subject.tolist()],
        "y": subjects.y,
        "scores": subjects.scores,
        **known,
    }


def _platt(method: Method, task: LabelTask) -> Platt:
    """From score to probability, learnt on training subjects that the method did not see."""
    scores, y = [], []
    for fit, score in task.folds:
        ranked = Ranked(method.scores(fit, score), task.data.y[score], task.data.subject[score])
        subjects = by_subject(ranked)
        scores.append(subjects.scores[:, 0])
        y.append(subjects.y)
    if not scores:
        return fit_platt(np.empty(0), np.empty(0, dtype=np.int64))
    return fit_platt(np.concatenate(scores), np.concatenate(y))


def _layers(learnt: Learnt, trial: Trial, seconds: dict[str, float]) -> dict[str, Any]:
    """Each layer, hidden from the test samples that have another one; see `_errors`."""
    assert learnt.layer is not None
    answer, result = learnt.layer, {}
    test = trial.complete.indices("test")
    complete, shown = trial.complete.take(test), trial.shown.take(test)
    for name in complete.layers:
        place = _with_another(complete, shown, name)
        if len(place):
            held = trial.seen(shown.without(name)).take(place)
            said = _timed(seconds, "layers", partial(answer, held, name))
            result[name] = _errors(complete.take(place).wide([name]), said, complete, name, place)
    return result


def _revisited(learnt: Learnt, trial: Trial, seconds: dict[str, float]) -> dict[str, Any]:
    """Each layer, hidden at one visit at a time from people who have it at another; see `_errors`.

    What a sample is given of its layer is the mean of the other visits, which it has no part in.
    """
    assert learnt.layer is not None
    answer, result = learnt.layer, {}
    test = trial.complete.indices("test")
    complete, shown = trial.complete.take(test), trial.shown.take(test)
    seen = trial.seen(shown)
    for name in complete.layers:
        others = _with_another(complete, shown, name)
        place = np.intersect1d(others, seen.layers[name + SUFFIX].rows)
        if len(place):
            held = seen.take(place).without(name)
            said = _timed(seconds, "revisited", partial(answer, held, name))
            result[name] = _errors(complete.take(place).wide([name]), said, complete, name, place)
    return result


def _with_another(complete: PreparedCohort, shown: PreparedCohort, name: str) -> Places:
    """Samples that have the layer and are shown another one.

    Of what was measured all is scored; of the other layers the pattern shows a part.
    """
    others = shown.without(name).measured().any(axis=1)
    return np.intersect1d(complete.layers[name].rows, np.flatnonzero(others))


def _values(learnt: Learnt, trial: Trial, seconds: dict[str, float]) -> dict[str, Any]:
    """Hidden values of the test samples, by layer; see `_errors`."""
    assert learnt.values is not None
    answer = learnt.values
    said = _timed(seconds, "values", lambda: answer(trial.seen(trial.shown_test)))
    result = {}
    for name, layer in trial.shown_test.layers.items():
        truth = trial.hidden_values[name]
        if np.isfinite(truth).any():
            place = layer.rows
            result[name] = _errors(truth, said[name][place], trial.shown_test, name, place)
    return result


def _errors(
    truth: Table, said: Table, cohort: PreparedCohort, name: str, place: Places
) -> dict[str, Any]:
    """Squared errors by subject, beside those of saying 0, and medians of correlations."""
    scored = np.isfinite(truth)
    known = np.where(scored, truth, 0).astype(np.float64)
    error = (np.where(scored, said, 0) - known) ** 2
    owner = np.asarray(cohort.subjects.astype(str))[place]
    subjects, subject = np.unique(owner, return_inverse=True)
    table = feature_table(truth, said, cohort.layers[name].features)
    return {
        "subject": subjects,
        "residual": np.bincount(subject, error.sum(axis=1)),
        "total": np.bincount(subject, (known**2).sum(axis=1)),
        "num_values": int(scored.sum()),
        "pearson": _median(table["pearson"].to_numpy()),
        "spearman": _median(table["spearman"].to_numpy()),
    }


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _timed(seconds: dict[str, float], step: str, work: Callable[[], Result]) -> Result:
    began = time.perf_counter()
    try:
        return work()
    finally:
        seconds[step] = seconds.get(step, 0.0) + time.perf_counter() - began
