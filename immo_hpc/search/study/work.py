"""A worker: takes trials up, lost ones first, until the goal of the study is met."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from immo_hpc.errors import ImmoError, InterruptedRun
from immo_hpc.files import write_text
from immo_hpc.lease import Watcher
from immo_hpc.search.pruning import Pruning
from immo_hpc.search.study.folder import StudyFolder
from immo_hpc.search.study.plan import STALE_AFTER_S, Plan
from immo_hpc.search.study.propose import propose, propose_confirmation
from immo_hpc.search.study.records import Ledger, Result, Trial
from immo_hpc.search.study.slots import Slot, finish, mark_of, note, take

# How often a worker with nothing to do looks again, and one at work learns of other trials.
_IDLE_S = 1.0
_LEARN_S = 5.0


class TrialFailed(ImmoError, RuntimeError):
    """A trial that cannot be measured, whoever tries: its point, not its surroundings."""


class TrialPruned(Exception):
    """Raised through the training of a trial that is to be ended."""


@dataclass(frozen=True)
class Measured:
    """What a trial gave.

    Attributes:
        values: One an objective.
        detail: What else is worth keeping, JSON-able.
    """

    values: tuple[float, ...]
    detail: dict[str, Any] = field(default_factory=dict)


class TrialLost(Exception):
    """Raised through the training of a trial that another worker has taken over."""


class Report:
    """What a measurement tells while it runs; here nobody listens."""

    def __call__(self, step: int, value: float) -> None:
        """Take note of the measure that pruning looks at.

        Raises:
            TrialPruned: If the trial is to be ended.
            TrialLost: As in `check`.
        """

    def check(self) -> None:
        """To be called now and then.

        Raises:
            TrialLost: If the trial is another worker's now.
        """


# Measures a trial in its folder, going on with what an earlier attempt left there.
Evaluate = Callable[[Path, Trial, Report], Measured]


@dataclass
class Worker:
    """One process at work on a study.

    Args:
        folder: The study.
        plan: Its plan.
        evaluate: Measures a trial. Raises `TrialFailed` for one that cannot be measured,
            InterruptedRun after a checkpoint if it is asked to stop; anything else ends
            the worker and leaves the trial to others.
        stopped: Why no more is to be done, or None; asked between trials.
        say: Told what was done, in words.
        deadline: `time.monotonic` after which no trial is begun.
        stale_after_s: Silence after which a worker of another host counts as dead, seconds.
    """

    folder: StudyFolder
    plan: Plan
    evaluate: Evaluate
    stopped: Callable[[], str | None] = lambda: None
    say: Callable[[str], None] = lambda line: None
    deadline: float = float("inf")
    stale_after_s: float = STALE_AFTER_S

    def __post_init__(self) -> None:
        self._trials = Ledger(self.folder.trials)
        self._seeds = Ledger(self.folder.confirm)
        self._watcher = Watcher(self.stale_after_s)
        self._pruning = Pruning(self.plan.pruner, self.plan.space)

    def run(self) -> bool:
        """Work until nothing is left to do; True if the study is finished.

        A worker that finds nothing stays while others are at work: they may die.

        Raises:
            InterruptedRun: If it is asked to stop.
            ImmoError: If a trial cannot be measured for reasons that are not its own.
        """
        while True:
            if (name := self.stopped()) is not None:
                message = f"{self.folder.path}: stopped on {name}; go on with the same command."
                raise InterruptedRun(message)
            if time.monotonic() >= self.deadline:
                return False
            slot = self._next()
            if slot is not None:
                self._measure(*slot)
            elif self._is_finished():
                return True
            else:
                time.sleep(_IDLE_S)

    def _next(self) -> tuple[Ledger, Slot] | None:
        """Something to measure; None if all that is left is in other hands."""
        trials, seeds = self._trials, self._seeds
        trials.sync()
        if (slot := self._take(trials, trials.open, retry=True)) is not None:
            return trials, slot
        while (name := propose(self.folder, self.plan, trials)) is not None:
            if (slot := self._take(trials, [name], retry=True)) is not None:
                return trials, slot
        if trials.open:
            return None
        wanted = propose_confirmation(self.folder, self.plan, trials, seeds)
        left = [name for name in wanted if name not in seeds.results]
        slot = self._take(seeds, left, retry=False)
        return None if slot is None else (seeds, slot)

    def _take(self, ledger: Ledger, names: Sequence[str], *, retry: bool) -> Slot | None:
        for name in names:
            if (slot := take(ledger, name, self._watcher, retry=retry)) is not None:
                return slot
        return None

    def _is_finished(self) -> bool:
        self._trials.sync()
        if self._trials.open or propose(self.folder, self.plan, self._trials) is not None:
            return False
        wanted = propose_confirmation(self.folder, self.plan, self._trials, self._seeds)
        return all(name in self._seeds.results for name in wanted)

    def _measure(self, ledger: Ledger, slot: Slot) -> None:
        began = time.monotonic()
        # Trainings on other seeds are wanted to their end.
        pruning = self._pruning if ledger is self._trials else None
        report = _Listener(slot, ledger, pruning)
        try:
            measured = self.evaluate(slot.folder, slot.trial, report)
            report.check()
            result = Result("complete", measured.values, detail=measured.detail)
        except TrialPruned as pruned:
            result = Result("pruned", reason=str(pruned))
        except TrialFailed as error:
            result = Result("failed", reason=str(error))
        except TrialLost:
            # This process stood still for too long; whoever has the trial now finishes it.
            slot.lease.release()
            self.say(f"trial {slot.name}: another worker took it over")
            return
        except BaseException:
            note(slot, "left", seconds=time.monotonic() - began)
            self._mark(ledger, slot, mark_of(slot.folder))
            slot.lease.release()
            raise
        seconds = slot.spent_s + time.monotonic() - began
        result = Result(**{**vars(result), "intermediate": tuple(report.steps)})
        finish(ledger, slot.name, result, slot.attempt, seconds)
        self._mark(ledger, slot, "finished")
        slot.lease.release()
        self.say(describe(slot.name, ledger.results[slot.name], self.plan))

    def _mark(self, ledger: Ledger, slot: Slot, mark: str) -> None:
        """Leave a sign of progress for those who count files."""
        if mark:
            write_text(self.folder.progress / f"{ledger.path.name}-{slot.name}-{mark}", "")


class _Listener(Report):
    """Remembers the steps of a trial, prunes it, and knows whether it is still ours."""

    def __init__(self, slot: Slot, ledger: Ledger, pruning: Pruning | None) -> None:
        self._slot, self._ledger, self._pruning = slot, ledger, pruning
        self._steps: dict[int, float] = {}
        self._learnt_at = float("-inf")

    @property
    def steps(self) -> list[tuple[int, float]]:
        """Steps and values so far, in order."""
        return sorted(self._steps.items())

    def __call__(self, step: int, value: float) -> None:
        self.check()
        self._steps[step] = value
        if self._pruning is None or not self._pruning.is_on:
            return
        if time.monotonic() - self._learnt_at >= _LEARN_S:
            self._ledger.sync()
            self._learnt_at = time.monotonic()
        others = [result.intermediate for _, result in self._ledger.finished("complete")]
        if self._pruning.is_behind(self.steps, others):
            message = f"behind the others at step {step}"
            raise TrialPruned(message)

    def check(self) -> None:
        if not self._slot.lease.is_ours():
            raise TrialLost


def describe(name: str, result: Result, plan: Plan) -> str:
    """A result in one line."""
    if result.values is None:
        return f"trial {name}: {result.state} ({result.reason})"
    values = ", ".join(
        f"{objective} {value:.5g}"
        for objective, value in zip(plan.objectives, result.values, strict=True)
    )
    return f"trial {name}: {values} in {result.seconds:.1f} s"
