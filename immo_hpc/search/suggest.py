"""Where to look next: a pure function of what is known, of the study's seed and of a number.

Optuna is given the trials as an in-memory study made for one question, so it keeps no state
of its own that a killed process could lose, and two processes that know the same ask for
the same. Trials under way are part of what is known: the Gaussian process conditions
on them as pending points, TPE by its constant liar.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from immo_hpc.search.dimension import Dimension, Value
from immo_hpc.search.points import drawn_point, sobol_point
from immo_hpc.search.space import Params, Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SamplerName = Literal["gp", "tpe", "random"]
Direction = Literal["minimize", "maximize"]
SAMPLERS: tuple[SamplerName, ...] = ("gp", "tpe", "random")
# Trials begun before a surrogate is asked; until then the points of one Sobol sequence.
_NUM_START = 10
# Of these so many have to be finished. To wait for all ten would give eight workers eighteen
# points that nothing was learnt for.
_LEAST_KNOWN = 5
# The cost of the Gaussian process grows with the third power of what it is shown.
_MOST_SHOWN = 256
# Integers in wider ranges are continuous to the Gaussian process, and rounded: a search along
# each of them value by value takes more than half of the time of a suggestion.
_MOST_INTEGERS = 16


@dataclass(frozen=True)
class Seen:
    """What a sampler is told of a trial.

    Attributes:
        params: Its point.
        values: Its values, one an objective; None while it is under way.
    """

    params: Params
    values: tuple[float, ...] | None


@dataclass(frozen=True)
class Question:
    """What stays the same from one suggestion to the next.

    Attributes:
        space: What is searched.
        directions: What is better, one an objective.
        sampler: Name in `SAMPLERS`.
        seed: Seed of the study.
    """

    space: Space
    directions: tuple[Direction, ...] = ("minimize",)
    sampler: SamplerName = "gp"
    seed: int = 0


def suggest(question: Question, seen: Sequence[Seen], number: int, attempt: int = 0) -> Params:
    """The point that trial ``number`` should try.

    Args:
        question: What is asked.
        seen: Trials known so far, oldest first.
        number: Number of the trial.
        attempt: 0, or more where the points suggested before were tried already: then any
            point, drawn anew for each attempt.
    """
    if attempt or question.sampler == "random":
        return drawn_point(question.space, [question.seed, number, attempt])
    if is_start(seen):
        return sobol_point(question.space, derived_seed(question.seed), number)
    return _asked(question, seen, number)


def is_start(seen: Sequence[Seen]) -> bool:
    """True while too little is known to ask a surrogate."""
    num_known = sum(item.values is not None for item in seen)
    return len(seen) < _NUM_START or num_known < _LEAST_KNOWN


def derived_seed(seed: int, *numbers: int) -> int:
    """A seed of its own for these numbers, from 0 to 2**32 - 1."""
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0])


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Each dimension as Optuna has it; a choice stands as its JSON text."""
    return {dimension.key: _distribution(dimension) for dimension in space.dimensions}


def as_optuna(space: Space, params: Params) -> dict[str, Any]:
    """Values as Optuna has them."""
    choices = {item.key for item in space.dimensions if item.kind == "choice"}
    return {key: json.dumps(value) if key in choices else value for key, value in params.items()}


def frozen(space: Space, item: Seen, **more: Any) -> FrozenTrial:
    """A trial as Optuna has it: complete if it has values, else under way.

    Args:
        space: The space of the study.
        item: The trial.
        more: What else `optuna.trial.create_trial` takes; goes over the rest.
    """
    from optuna.trial import TrialState, create_trial

    known = distributions(space)
    is_done = item.values is not None
    arguments: dict[str, Any] = {
        "state": TrialState.COMPLETE if is_done else TrialState.RUNNING,
        "params": as_optuna(space, item.params),
        "distributions": {key: known[key] for key in item.params},
        "values": list(item.values) if item.values is not None else None,
    }
    return create_trial(**(arguments | more))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """No log lines, and no warning that a part of Optuna is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _asked(question: Question, seen: Sequence[Seen], number: int) -> Params:
    import optuna
    from threadpoolctl import threadpool_limits

    if question.sampler == "gp":
        import torch  # noqa: F401 - its threads can be limited only once they are there

    space = question.space
    asked = _smooth(space) if question.sampler == "gp" else space
    # Many small matrices: threads of BLAS and torch on one core cost it eightfold.
    with quiet_optuna(), threadpool_limits(1):
        sampler = _sampler(question, derived_seed(question.seed, number))
        study = optuna.create_study(directions=list(question.directions), sampler=sampler)
        shown = _tempered(question, _shown(question, seen)) if question.sampler == "gp" else seen
        study.add_trials([frozen(asked, item) for item in shown])
        trial = study.ask()
        params: Params = {}
        for dimension, as_asked in zip(space.dimensions, asked.dimensions, strict=True):
            if dimension.applies({**space.fixed, **params}):
                value = _suggested(trial, as_asked)
                params[dimension.key] = _rounded(value, dimension)
    return params


def _smooth(space: Space) -> Space:
    """The space with wide ranges of integers as real numbers, half a step more at each end."""
    dimensions = [
        replace(item, kind="float", low=item.low - 0.5, high=item.high + 0.5)
        if item.kind == "int"
        and item.low is not None
        and item.high is not None
        and item.high - item.low >= _MOST_INTEGERS
        else item
        for item in space.dimensions
    ]
    return replace(space, dimensions=tuple(dimensions))


def _rounded(value: Value, dimension: Dimension) -> Value:
    if dimension.kind != "int":
        return value
    assert dimension.low is not None
    assert dimension.high is not None
    return int(min(max(round(float(value)), dimension.low), dimension.high))


def _sampler(question: Question, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    if question.sampler == "gp":
        return optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=0, warn_independent_sampling=False
        )
    is_conditional = any(dimension.when for dimension in question.space.dimensions)
    return optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=0,
        multivariate=True,
        group=is_conditional,
        constant_liar=True,
    )


def _shown(question: Question, seen: Sequence[Seen]) -> list[Seen]:
    """All of ``seen``, or the best and an even choice of the rest where they are too many."""
    done = [place for place, item in enumerate(seen) if item.values is not None]
    if len(done) <= _MOST_SHOWN:
        return list(seen)
    signs = [1.0 if direction == "minimize" else -1.0 for direction in question.directions]
    values = np.array([seen[place].values for place in done]) * signs
    # By the mean rank over objectives; for one objective its order.
    order = np.argsort(values.argsort(axis=0).argsort(axis=0).mean(axis=1), kind="stable")
    best, rest = order[: _MOST_SHOWN // 2], np.sort(order[_MOST_SHOWN // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, _MOST_SHOWN // 2).astype(np.int64)]
    kept = {done[place] for place in (*best, *even)}
    return [item for place, item in enumerate(seen) if item.values is None or place in kept]


def _tempered(question: Question, seen: Sequence[Seen]) -> list[Seen]:
    """The trials with values worse than the median on a logarithmic scale.

    A tenth of random trainings come to nothing. Their values, far from all others, are what a
    Gaussian process would explain first, and what is better than the median would all look
    alike. The order stays as it is, and so does everything up to the median.
    """
    done = np.array([item.values for item in seen if item.values is not None], dtype=np.float64)
    signs = np.array(
        [1.0 if direction == "minimize" else -1.0 for direction in question.directions]
    )
    middle = np.median(done * signs, axis=0)
    gap = middle - (done * signs).min(axis=0)
    unit = np.where(gap > 0, gap, 1.0)

    def tempered(values: tuple[float, ...]) -> tuple[float, ...]:
        above = np.maximum(np.array(values) * signs - middle, 0.0)
        return tuple((np.array(values) - signs * (above - unit * np.log1p(above / unit))).tolist())

    return [
        item if item.values is None else replace(item, values=tempered(item.values))
        for item in seen
    ]


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.kind == "choice":
        return CategoricalDistribution([json.dumps(value) for value in dimension.choices])
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.kind == "int":
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _suggested(trial: optuna.Trial, dimension: Dimension) -> Value:
    low, high = dimension.low, dimension.high
    if dimension.kind == "choice":
        texts = [json.dumps(value) for value in dimension.choices]
        return dimension.choices[texts.index(trial.suggest_categorical(dimension.key, texts))]
    assert low is not None
    assert high is not None
    if dimension.kind == "int":
        return trial.suggest_int(dimension.key, int(low), int(high), log=dimension.log)
    return trial.suggest_float(dimension.key, low, high, log=dimension.log)
