"""How good a search is after 50 trials: samplers, one after the other or 8 at once.

Workers are simulated by a clock of events: when a trial ends, its worker asks for the next
one, with the others under way. So 8 workers need no 8 processors, and a run of the bench
gives the same figures again.
"""

from __future__ import annotations

import heapq
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from immo_hpc.config import ImmoConfig
from immo_hpc.search.build import build_space
from immo_hpc.search.dimension import Dimension
from immo_hpc.search.space import Params, Space
from immo_hpc.search.study import Plan, Report, Trial
from immo_hpc.search.study.work import TrialFailed
from immo_hpc.search.suggest import SAMPLERS, Question, SamplerName, Seen, suggest

# Value of a point, lower is better; NaN for one that cannot be measured.
Surface = Callable[[Params], float]

_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
_HARTMANN_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
HARTMANN_BEST = -3.32237
_VALLEY_AT = np.array([0.83, 0.3, 0.63, 0.75, 0.9, 0.5, 0.4])


@dataclass(frozen=True)
class Quality:
    """Best values of one sampler with one number of workers on one surface.

    Attributes:
        surface: Name of the surface.
        sampler: Name of the sampler.
        workers: Trials under way at once.
        best: Best value after all trials, one a seed.
        regret: Mean over seeds of best value less the optimum; None where it is not known.
    """

    surface: str
    sampler: SamplerName
    workers: int
    best: tuple[float, ...]
    regret: float | None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.best)


def synthetic(space: Space) -> dict[str, tuple[Surface, float]]:
    """Two surfaces over the paper's space with their optimum: one valley, one of many hollows."""

    def valley(params: Params) -> float:
        u = unit(space, params) - _VALLEY_AT
        # Elongated across the axes, as learning rate and its decay act together.
        return float((u**2 @ np.array([1, 2, 4, 2, 1, 0.5, 0.5])) + 3 * (u[2] + u[4]) ** 2)

    def hartmann(params: Params) -> float:
        u = unit(space, params)[:6]
        inner = (_HARTMANN_A * (u - _HARTMANN_P) ** 2).sum(axis=1)
        return float(-_HARTMANN_ALPHA @ np.exp(-inner))

    return {"valley": (valley, 0.0), "hartmann": (hartmann, HARTMANN_BEST)}


def unit(space: Space, params: Params) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A point on the scale of its ranges, 0 to 1 each."""
    return np.array([_place(item, params[item.key]) for item in space.dimensions])


def paper_space() -> Space:
    """The paper's space on three layers."""
    return build_space(("mg", "mt", "mb"), ImmoConfig())[0]


def simulate(question: Question, surface: Surface, workers: int, trials: int) -> list[Seen]:
    """Trials in the order they ended, by ``workers`` that work at once.

    Args:
        question: What the sampler is asked; its seed also decides how long trials take.
        surface: Measures a point.
        workers: Trials under way at once.
        trials: Trials in all.
    """
    rng = np.random.default_rng([question.seed, workers])
    clock: list[tuple[float, int]] = []
    points: dict[int, Params] = {}
    done: dict[int, Seen] = {}
    now = 0.0
    ended: list[Seen] = []
    for number in range(trials):
        if len(clock) == workers:
            now, over = heapq.heappop(clock)
            ended.append(_measured(points.pop(over), surface, done, over))
        seen = {**done, **{key: Seen(params, None) for key, params in points.items()}}
        known = [seen[key] for key in sorted(seen) if seen[key].values != (np.inf,)]
        points[number] = suggest(question, known, number)
        heapq.heappush(clock, (now + float(rng.lognormal(0, 0.3)), number))
    while clock:
        _, over = heapq.heappop(clock)
        ended.append(_measured(points.pop(over), surface, done, over))
    return ended


def measure_quality(
    surfaces: Mapping[str, tuple[Surface, float | None]],
    space: Space,
    *,
    trials: int,
    seeds: Sequence[int],
    samplers: Sequence[SamplerName] = SAMPLERS,
    workers: Sequence[int] = (1, 8),
    say: Callable[[str], None] = lambda line: None,
) -> list[Quality]:
    """Best value of each sampler, on each surface, with each number of workers."""
    rows = []
    for name, (surface, optimum) in surfaces.items():
        for sampler in samplers:
            for count in workers:
                best = []
                for seed in seeds:
                    question = Question(space, sampler=sampler, seed=seed)
                    ended = simulate(question, surface, count, trials)
                    best.append(min(item.values[0] for item in ended if item.values))
                regret = None if optimum is None else statistics.fmean(best) - optimum
                row = Quality(name, sampler, count, tuple(best), regret)
                say(f"{name}, {sampler}, {count} at once: {row.mean:.4f}")
                rows.append(row)
    return rows


def lost_in_parallel(rows: Sequence[Quality], start: Mapping[str, float]) -> dict[str, float]:
    """Share of the sequential improvement that 8 workers lose, by 'surface sampler'.

    Args:
        rows: Of `measure_quality`.
        start: By surface, the value that a search improves on: the median of random points.
    """
    by_row = {(row.surface, row.sampler, row.workers): row.mean for row in rows}
    lost = {}
    for (surface, sampler, count), mean in by_row.items():
        alone = by_row.get((surface, sampler, 1))
        if count > 1 and alone is not None and start[surface] > alone:
            lost[f"{surface} {sampler}"] = (mean - alone) / (start[surface] - alone)
    return lost


def start_values(
    surfaces: Mapping[str, tuple[Surface, float | None]], space: Space, num_points: int
) -> dict[str, float]:
    """Median value of random points, by surface."""
    question = Question(space, sampler="random", seed=12_345)
    points = [suggest(question, [], number) for number in range(num_points)]
    return {
        name: statistics.median(surface(point) for point in points)
        for name, (surface, _) in surfaces.items()
    }


def trained_surface(shards: Path, trials_plan: Plan) -> Surface:
    """The objective of a study on a cohort: a training each time it is asked."""
    from immo_hpc.data.shards import read_shards
    from immo_hpc.search.objective import TrainingObjective

    found = read_shards(shards)
    measure = TrainingObjective(trials_plan, found.cohort, shards, found.preparation.to_dict())

    def surface(params: Params) -> float:
        with tempfile.TemporaryDirectory(prefix="immo-bench-") as folder:
            trial = Trial(0, params, trials_plan.config.seed, "bench")
            try:
                return measure(Path(folder), trial, Report()).values[0]
            except TrialFailed:
                return float("inf")

    return surface


def _measured(params: Params, surface: Surface, done: dict[int, Seen], number: int) -> Seen:
    done[number] = Seen(params, (surface(params),))
    return done[number]


def _place(dimension: Dimension, value: float) -> float:
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.log:
        return float(np.log(value / dimension.low) / np.log(dimension.high / dimension.low))
    return float((value - dimension.low) / (dimension.high - dimension.low))
