"""Real workers on a study without trainings: throughput, and what kills do to it."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from immo_hpc.bench.search_quality import paper_space
from immo_hpc.bench.search_worker import main
from immo_hpc.config import ImmoConfig
from immo_hpc.search.study import Goal, Ledger, Plan, StudyFolder, make_or_join
from immo_hpc.search.suggest import SamplerName


@dataclass(frozen=True)
class Throughput:
    """Trials of a fixed length by several workers.

    Attributes:
        workers: Processes.
        trials: Trials in all.
        trial_s: Length of each, seconds.
        wall_s: From the first trial to the end, seconds.
        share: Seconds of trials per worker and second of the wall.
    """

    workers: int
    trials: int
    trial_s: float
    wall_s: float
    share: float


@dataclass(frozen=True)
class Faults:
    """One study whose workers are killed.

    Attributes:
        kills: Workers that were killed.
        trials: Trials that were asked for.
        made: Trials that were made, those in place of lost ones included.
        taken_over: Trials that more than one worker took up.
        lost: Trials that were given up and tried again.
        open: Trials without a result at the end.
        missing: Numbers that no trial has.
        repeated: Points that were measured more than once.
        best: Best value.
        seconds: Wall time.
    """

    kills: int
    trials: int
    made: int
    taken_over: int
    lost: int
    open: int
    missing: int
    repeated: int
    best: float
    seconds: float

    @property
    def is_sound(self) -> bool:
        """True if every number is accounted for, over, and measured once."""
        return not (self.open or self.missing or self.repeated)


def bench_plan(sampler: SamplerName, seed: int) -> Plan:
    """A study that needs no shards."""
    return Plan(
        shards="none",
        data="none",
        config=ImmoConfig(),
        space=paper_space(),
        objectives=("held-out",),
        directions=("minimize",),
        sampler=sampler,
        seed=seed,
    )


def measure_throughput(
    workers: int, trials: int, trial_s: float, sampler: SamplerName = "gp"
) -> Throughput:
    """How much of ``workers`` processes' time is spent in trials."""
    with _study(trials, sampler, 0) as folder, _workers(folder, workers, trial_s) as running:
        for process in running:
            process.join()
        ledger = _ledger(folder)
    began = min(trial.created for trial in ledger.trials.values())
    wall_s = max(result.finished for result in ledger.results.values()) - began
    share = trials * trial_s / wall_s / workers
    return Throughput(workers, trials, trial_s, wall_s, share)


def measure_faults(
    workers: int, trials: int, trial_s: float, kill_every_s: float, seed: int
) -> Faults:
    """Kill a random worker now and then, start another in its place, count what is left.

    Args:
        workers: Processes.
        trials: Trials to make.
        trial_s: Length of each, seconds.
        kill_every_s: Mean time between two kills, seconds; 0: none.
        seed: Seed of the study and of the kills.
    """
    draw, kills = random.Random(seed), 0
    began = time.monotonic()
    with _study(trials, "gp", seed) as folder, _workers(folder, workers, trial_s) as running:
        kill_at = time.monotonic() + draw.expovariate(1 / kill_every_s) if kill_every_s else None
        while any(process.is_alive() for process in running):
            time.sleep(0.05)
            if kill_at is None or time.monotonic() < kill_at:
                continue
            place = draw.randrange(workers)
            if running[place].is_alive():
                running[place].kill()
                running[place].join()
                running[place] = _start(folder, trial_s)
                kills += 1
            kill_at = time.monotonic() + draw.expovariate(1 / kill_every_s)
        ledger = _ledger(folder)
    seconds = time.monotonic() - began
    complete = list(ledger.finished("complete"))
    points = [json.dumps(trial.params, sort_keys=True) for trial, _ in complete]
    numbers = {trial.number for trial in ledger.trials.values()}
    return Faults(
        kills=kills,
        trials=trials,
        made=len(ledger.trials),
        taken_over=sum(result.attempts > 1 for _, result in complete),
        lost=len(list(ledger.finished("failed"))),
        open=len(ledger.open),
        missing=max(numbers) + 1 - len(numbers) + max(0, trials - len(set(points))),
        repeated=len(points) - len(set(points)),
        best=min((result.values or (float("inf"),))[0] for _, result in complete),
        seconds=seconds,
    )


def _ledger(folder: StudyFolder) -> Ledger:
    ledger = Ledger(folder.trials)
    ledger.sync()
    return ledger


@contextmanager
def _study(trials: int, sampler: SamplerName, seed: int) -> Iterator[StudyFolder]:
    with tempfile.TemporaryDirectory(prefix="immo-bench-") as path:
        folder = StudyFolder(Path(path) / "study")
        make_or_join(folder, bench_plan(sampler, seed), Goal(trials=trials, top=0))
        yield folder


@contextmanager
def _workers(folder: StudyFolder, count: int, trial_s: float) -> Iterator[list[BaseProcess]]:
    running = [_start(folder, trial_s) for _ in range(count)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.join()


def _start(folder: StudyFolder, trial_s: float) -> BaseProcess:
    """A process forked from one that has the libraries: to load them takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([main.__module__, "torch", "optuna.samplers._gp.sampler"])
    process = context.Process(target=main, args=(str(folder.path), trial_s), daemon=True)
    with _one_thread():
        process.start()
    return process


@contextmanager
def _one_thread() -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
