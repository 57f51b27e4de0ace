"""How a study stands: who is best, whether its goal is met, what is to be confirmed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from immo_hpc.search.study.folder import Goal
from immo_hpc.search.study.plan import Plan
from immo_hpc.search.study.records import Ledger, Result, Trial, trial_name
from immo_hpc.search.suggest import Direction

Finished = tuple[Trial, Result]


@dataclass(frozen=True)
class Confirmed:
    """A good trial over several seeds.

    Attributes:
        trial: The trial.
        values: First objective, the study's own seed first.
        wanted: Seeds it is to be judged by.
    """

    trial: Trial
    values: tuple[float, ...]
    wanted: int

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def dominates(a: Sequence[float], b: Sequence[float], directions: Sequence[Direction]) -> bool:
    """True if ``a`` is nowhere worse than ``b`` and somewhere better.

    Example:
        >>> dominates((1.0, 0.8), (1.0, 0.7), ("minimize", "maximize"))
        True
    """
    signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
    pairs = [(sign * x, sign * y) for sign, x, y in zip(signs, a, b, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def front(ledger: Ledger, directions: Sequence[Direction]) -> list[Finished]:
    """Complete trials that no other dominates, the best by the first objective first."""
    done = list(ledger.finished("complete"))
    kept = [
        (trial, result)
        for trial, result in done
        if not any(
            dominates(other.values or (), result.values or (), directions) for _, other in done
        )
    ]
    return sorted(kept, key=lambda item: _key(item[1], directions))


def ranked(ledger: Ledger, directions: Sequence[Direction]) -> list[Finished]:
    """Complete trials, best first; with several objectives those of the Pareto front only."""
    if len(directions) > 1:
        return front(ledger, directions)
    return sorted(ledger.finished("complete"), key=lambda item: _key(item[1], directions))


def is_met(ledger: Ledger, plan: Plan, goal: Goal) -> bool:
    """True if no further trial is to be begun."""
    made = sum(trial.retry_of is None for trial in ledger.trials.values())
    return made >= goal.trials or _is_stale(ledger, plan, goal)


def waiting_retries(ledger: Ledger) -> list[Trial]:
    """Lost trials whose points wait to be tried once more, oldest first."""
    retried = {trial.retry_of for trial in ledger.trials.values()}
    return [
        trial
        for trial, result in ledger.finished("failed")
        if result.retry and trial.number not in retried
    ]


def to_confirm(ledger: Ledger, plan: Plan, goal: Goal) -> list[tuple[str, Trial]]:
    """Trainings on other seeds that the goal asks for: names of folders, and what is trained."""
    best = ranked(ledger, plan.directions)[: goal.top]
    return [
        (
            f"{trial_name(trial.number)}-seed-{trial.seed + more}",
            Trial(trial.number, trial.params, trial.seed + more, "another seed"),
        )
        for trial, _ in best
        for more in range(1, goal.seeds)
    ]


def confirmed(ledger: Ledger, seeds: Ledger, plan: Plan, goal: Goal) -> list[Confirmed]:
    """The best trials over seeds; those with the best mean first, the half-judged last."""
    found = []
    for trial, result in ranked(ledger, plan.directions)[: max(goal.top, 1)]:
        names = [
            name for name, again in to_confirm(ledger, plan, goal) if again.params == trial.params
        ]
        again = [seeds.results[name].values for name in names if name in seeds.results]
        values = [values[0] for values in (result.values, *again) if values]
        found.append(Confirmed(trial, tuple(values), 1 + len(names)))
    sign = _sign(plan.directions)
    # Judged by fewer seeds than the others is no way to win.
    return sorted(found, key=lambda item: (item.wanted - len(item.values), sign * item.mean))


def _is_stale(ledger: Ledger, plan: Plan, goal: Goal) -> bool:
    if not goal.patience:
        return False
    best = {
        trial.number
        for trial, _ in ranked(ledger, plan.directions)[: None if len(plan.directions) > 1 else 1]
    }
    if not best:
        return False
    ended = [trial.number for trial, _ in ledger.finished("complete", "pruned")]
    return sum(number > max(best) for number in ended) >= goal.patience


def _key(result: Result, directions: Sequence[Direction]) -> float:
    assert result.values is not None
    return _sign(directions) * result.values[0]


def _sign(directions: Sequence[Direction]) -> float:
    return 1.0 if directions[0] == "minimize" else -1.0
