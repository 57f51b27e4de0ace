"""What the other visits of a person say of a sample, as layers of their own.

Beside each layer stands one more, named as it with `SUFFIX`: for every sample what the *other*
samples of the same subject foretell, their mean drawn toward 0, the training mean. Where it is
known when samples were taken, those close in time count more (`immo_hpc.data.visit_times`).
A person with one visit has no row there, so all that is said without visits stays as it was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Roles, days_of, subjects_of
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.visit_times import near_in_time, of_others

SUFFIX = "@visits"
# One visit counts half, as if the differences between people and between visits were alike.
_PRIOR_VISITS = 1.0


def with_visits(
    cohort: PreparedCohort, *, unheard: NDArray[np.bool_] | None = None
) -> PreparedCohort:
    """The cohort with a layer of other visits beside each of its layers.

    Nothing of a sample itself enters its own row, so values hidden in ``cohort`` stay hidden.

    Args:
        cohort: Prepared samples without such layers.
        unheard: Samples that say nothing of other visits, ``(sample,)``; None: all do.

    Example:
        >>> table = pd.DataFrame({"who": ["ann", "ann", "bob"]}, index=["a1", "a2", "b1"])
        >>> values = np.array([[1.0], [3.0], [5.0]], dtype=np.float32)
        >>> layer = PreparedLayer("mb", ("x",), values, np.arange(3), np.ones(3, np.float32))
        >>> both = with_visits(PreparedCohort(table, {"mb": layer}, Roles(subject="who")))
        >>> visits = both.layers["mb@visits"]
        >>> visits.rows.tolist(), visits.values.ravel().tolist()
        ([0, 1], [1.5, 0.5])
    """
    subject = np.unique(people(cohort.samples, cohort.roles), return_inverse=True)[1].ravel()
    days = None if cohort.roles.time is None else days_of(cohort.samples, cohort.roles)
    groups = [] if days is None else near_in_time(subject, days)
    layers = dict(cohort.layers)
    for name, layer in cohort.layers.items():
        is_heard = np.ones(len(layer.rows), bool) if unheard is None else ~unheard[layer.rows]
        if days is None:
            layers[name + SUFFIX] = _mean_of_others(layer, subject, is_heard)
        else:
            layers[name + SUFFIX] = _timed(layer, groups, days, is_heard)
    return replace(cohort, layers=layers)


def is_visits(name: str) -> bool:
    """True for the name of a layer that `with_visits` adds."""
    return name.endswith(SUFFIX)


def measured_layers(cohort: PreparedCohort) -> list[str]:
    """Names of the layers that are not of other visits."""
    return [name for name in cohort.layers if not is_visits(name)]


def without_visits(cohort: PreparedCohort) -> PreparedCohort:
    """The cohort as it was before `with_visits`."""
    layers = {name: cohort.layers[name] for name in measured_layers(cohort)}
    return replace(cohort, layers=layers)


def visited(cohort: PreparedCohort) -> NDArray[np.bool_]:
    """Whether another visit of the person says anything of a sample, ``(sample,)``.

    Args:
        cohort: Prepared samples; without layers of other visits, none is visited.
    """
    result = np.zeros(len(cohort.samples), dtype=np.bool_)
    for name, layer in cohort.layers.items():
        if is_visits(name):
            result[layer.rows] = True
    return result


def people(samples: pd.DataFrame, roles: Roles) -> NDArray[np.str_]:
    """Subject of each sample, ``(sample,)``; one whose subject is unknown is its own.

    Args:
        samples: Sample table, index ``sample_id``.
        roles: Meaning of its columns.
    """
    subjects = subjects_of(samples, roles)
    own = pd.Series(samples.index.astype(str), index=subjects.index)
    return np.asarray(subjects.where(subjects.notna(), own).astype(str), dtype=str)


def with_other_visits(person: NDArray[np.str_], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """``places`` and those of all other samples of the same people, increasing.

    Args:
        person: Subject of every sample, ``(sample,)``.
        places: Some samples, ``(place,)``.

    Example:
        >>> with_other_visits(np.array(["ann", "bob", "ann"]), np.array([0])).tolist()
        [0, 2]
    """
    return np.flatnonzero(np.isin(person, np.unique(person[places]))).astype(np.int64)


def _mean_of_others(
    layer: PreparedLayer, subject: NDArray[np.int64], is_heard: NDArray[np.bool_]
) -> PreparedLayer:
    is_known = np.isfinite(layer.values) & is_heard[:, None]
    known = np.where(is_known, layer.values, 0).astype(np.float64)
    # By subject and feature; samples in order, so that a subject's sum is always the same.
    total, count = np.zeros((2, int(subject.max(initial=-1)) + 1, layer.values.shape[1]))
    np.add.at(total, subject[layer.rows], known)
    np.add.at(count, subject[layer.rows], is_known)
    total, count = total[subject], count[subject]
    total[layer.rows] -= known
    count[layer.rows] -= is_known
    mean = np.where(count > 0, total / (count + _PRIOR_VISITS), np.nan).astype(np.float32)
    rows = np.flatnonzero((count > 0).any(axis=1)).astype(np.int64)
    return _visits_layer(layer, mean[rows], rows)


def _timed(
    layer: PreparedLayer,
    groups: list[NDArray[np.int64]],
    days: NDArray[np.float64],
    is_heard: NDArray[np.bool_],
) -> PreparedLayer:
    num_features = len(layer.features)
    place = np.full(len(days), -1)
    place[layer.rows[is_heard]] = np.flatnonzero(is_heard)
    values, rows = [np.empty((0, num_features), np.float32)], [np.empty(0, dtype=np.int64)]
    for samples in groups:
        own = np.full((len(samples), num_features), np.nan)
        has_row = place[samples] >= 0
        own[has_row] = layer.values[place[samples[has_row]]]
        found = of_others(own, days[samples])
        is_told = np.isfinite(found).any(axis=1)
        values.append(found[is_told].astype(np.float32))
        rows.append(samples[is_told])
    everyone = np.concatenate(rows)
    order = np.argsort(everyone)
    return _visits_layer(layer, np.concatenate(values)[order], everyone[order])


def _visits_layer(
    layer: PreparedLayer, values: NDArray[np.float32], rows: NDArray[np.int64]
) -> PreparedLayer:
    ones = np.ones(len(rows), dtype=np.float32)
    return PreparedLayer(layer.name + SUFFIX, layer.features, values, rows, ones)
