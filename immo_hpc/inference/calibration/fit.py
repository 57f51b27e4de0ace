"""Learning how far off a model is from people it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import people, visited, with_visits
from immo_hpc.errors import CohortError
from immo_hpc.inference.calibration.calibrated import Calibration
from immo_hpc.inference.calibration.distance import fit_distance
from immo_hpc.inference.calibration.hidden import (
    Foreteller,
    HiddenErrors,
    Mode,
    Task,
    among,
    hidden_errors,
    wider_task,
)
from immo_hpc.inference.calibration.intervals import LEVELS, Spread
from immo_hpc.inference.calibration.ranks import (
    column_limits,
    effective_units,
    person_weights,
    upper_limits,
)

# Probability of lying beyond one end, by level: both ends get half of what is left.
_TAILS = np.array([(1 - level) / 2 for level in LEVELS])
# An end of a feature's shape is at least so far from 0, as a share of its typical error.
_LEAST_END = 0.05
# Errors of a feature beyond an end that count as much as those of all features of its layer.
_PRIOR_BEYOND = 10.0
# Training samples that shapes are learnt from, and hidden values that are ranked.
_MOST_SAMPLES = 2000
_MOST_VALUES = 1_000_000

# How far the errors of each feature reach below and above 0, ``(level, feature)`` both.
Shape = tuple[NDArray[np.float64], NDArray[np.float64]]


class Calibrated(Foreteller, Protocol):
    """What can be calibrated, `immo_hpc.inference.TrainedModel` above all."""

    def apart(self, train: PreparedCohort) -> Iterator[tuple[Foreteller, PreparedCohort]]:
        """Training people in parts, each with a model whose companion does not hold them."""


def calibration_of(
    model: Calibrated, train: PreparedCohort, held_out: PreparedCohort, *, seed: int
) -> Calibration:
    """Learn how far off a model is.

    Args:
        model: The model; it must not have seen the people held out.
        train: Prepared samples it was trained on: the shape of each feature's errors, and what
            is near, are taken from them.
        held_out: Prepared samples of other people: how wide intervals are follows from them.
        seed: Seed of the values that are hidden.

    Raises:
        CohortError: If nothing of the people held out could be hidden.
    """
    shapes = _shapes(model, train, seed)
    person = people(held_out.samples, held_out.roles)
    cohorts: dict[Mode, PreparedCohort] = {"plain": held_out}
    if len(np.unique(person)) < len(person):
        cohorts["visits"] = with_visits(held_out)
    spreads: dict[tuple[Mode, Task, str], Spread] = {}
    for mode, cohort in cohorts.items():
        # Those who came once are told by the plain ones.
        is_meant = visited(cohort) if mode == "visits" else np.ones(len(person), dtype=np.bool_)
        for everyone in hidden_errors(model, cohort, seed):
            hidden = among(everyone, is_meant)
            if hidden is None:
                continue
            # Shapes are learnt without other visits; how wide they are is not.
            shape = shapes.get((wider_task(hidden.task), hidden.layer))
            if shape is not None:
                spread = _spread(hidden, person[hidden.rows], shape)
                spreads[mode, hidden.task, hidden.layer] = spread
    if not spreads:
        message = (
            f"nothing could be hidden from the {len(held_out.samples)} samples held out, so how "
            "far off the model is cannot be measured."
        )
        raise CohortError(message)
    num_features = {name: len(layer.features) for name, layer in train.layers.items()}
    return Calibration(spreads, fit_distance(train, held_out), num_features)


def _shapes(model: Calibrated, train: PreparedCohort, seed: int) -> dict[tuple[Task, str], Shape]:
    """Shape of the errors of each task and layer on training people (`_shape`)."""
    errors: dict[tuple[Task, str], list[NDArray[np.float32]]] = {}
    persons: dict[tuple[Task, str], list[NDArray[np.str_]]] = {}
    for answering, part in model.apart(train):
        # Evenly over all samples, since those of one person or site lie together.
        step = max(1, -(-len(part.samples) // _MOST_SAMPLES))
        some = part.take(np.arange(0, len(part.samples), step))
        person = people(some.samples, some.roles)
        for hidden in hidden_errors(answering, some, seed):
            at = hidden.task, hidden.layer
            errors.setdefault(at, []).append(hidden.error)
            persons.setdefault(at, []).append(person[hidden.rows])
    return {
        at: _shape(np.concatenate(parts), np.concatenate(persons[at]))
        for at, parts in errors.items()
    }


def _shape(error: NDArray[np.float32], person: NDArray[np.str_]) -> Shape:
    """How far the tails of each feature's errors reach; a layer's features help each other.

    A feature's own quantile is drawn toward that of all features of the layer, each in units
    of its typical error, the more the fewer of its errors lie beyond it.
    """
    known = np.isfinite(error)
    squares, count = np.where(known, error, 0.0).astype(np.float64) ** 2, known.sum(axis=0)
    pooled = np.sqrt(max(squares.sum() / max(known.sum(), 1), np.finfo(np.float64).tiny))
    typical = np.sqrt(squares.sum(axis=0) / np.maximum(count, 1))
    typical = np.where(typical > 0, typical, pooled)
    weights = person_weights(person)
    beyond = _TAILS[:, None] * count
    own_share = beyond / (beyond + _PRIOR_BEYOND)
    rows, columns = _some(known)
    common = error[rows, columns] / typical[columns]
    common_weights = person_weights(person[rows])
    ends = []
    for sign in (-1.0, 1.0):
        own = np.nan_to_num(column_limits(sign * error, weights, _TAILS), nan=0.0)
        alike = upper_limits(sign * common, common_weights, _TAILS, np.inf)[:, None] * typical
        drawn = own_share * own + (1 - own_share) * np.where(np.isfinite(alike), alike, 0.0)
        ends.append(np.maximum(drawn, _LEAST_END * typical))
    return ends[0], ends[1]


def _spread(hidden: HiddenErrors, person: NDArray[np.str_], shape: Shape) -> Spread:
    """Ends that hold the stated shares of the errors of a person's values."""
    rows, columns = _some(np.isfinite(hidden.error))
    error = hidden.error[rows, columns].astype(np.float64)
    owner = person[rows]
    ends = []
    for sign, reach in zip((-1.0, 1.0), shape, strict=True):
        factors = [
            max(_limit(sign * error / far[columns], owner, tail), 0.0)
            for far, tail in zip(reach, _TAILS, strict=True)
        ]
        # Taken level by level ends could cross; a wider promise gets no narrower interval.
        end = np.maximum.accumulate(np.array(factors)[:, None] * reach, axis=0)
        ends.append(end.astype(np.float32))
    return Spread(-ends[0], ends[1], len(np.unique(owner)), len(rows))


def _some(known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the known values, or of as many as are ranked quickly."""
    rows, columns = np.nonzero(known)
    if len(rows) > _MOST_VALUES:
        chosen = np.random.default_rng(0).choice(len(rows), _MOST_VALUES, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return rows, columns


def _limit(values: NDArray[np.float64], person: NDArray[np.str_], tail: float) -> float:
    """What a value of a new person exceeds with probability ``tail``, people weighing alike.

    The rank is corrected for as many values as theirs are worth. Corrected for people alone it
    would be sure, and for a dozen of them infinite; where it is infinite all the same, the
    largest value is all that is known.
    """
    weights, tails = person_weights(person), np.array([tail])
    first = upper_limits(values, weights, tails, np.inf)[0]
    limit = upper_limits(values, weights, tails, effective_units(values > first, person))[0]
    return float(limit if np.isfinite(limit) else values.max())
