"""Rounds of `immo bench loader`: which process runs when, and what came of each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from immo_hpc.bench.loader_child import FLOORS, State, Task
from immo_hpc.bench.loader_contenders import CONTENDERS
from immo_hpc.bench.loader_data import BenchCohort
from immo_hpc.bench.loader_memory import between, watch
from immo_hpc.bench.loader_rows import Row, Run, floor_rate, make_row
from immo_hpc.errors import ImmoError

_CHECKED_BATCHES = 3
EPOCHS = 2


@dataclass(frozen=True)
class Settings:
    """What all runs have in common.

    Attributes:
        batch_size: Samples in a batch.
        memory_bytes: Memory limit of a process.
        repeats: Rounds.
        seconds: After so long an epoch of a contender ends that is not measured whole.
        states: States of the page cache to start epochs from.
        interval_s: Time between two looks at a process's memory.
    """

    batch_size: int
    memory_bytes: int
    repeats: int
    seconds: float
    states: tuple[State, ...]
    interval_s: float = 0.05


class Failed(Exception):
    """A process ended with an error; the message is its last line."""


def measure(
    name: str,
    cohort: BenchCohort,
    folder: Path,
    contenders: Sequence[str],
    settings: Settings,
    say: Callable[[str], None],
    keep: Callable[[list[Row], int], object] = lambda rows, rounds: None,
) -> list[Row]:
    """Check and then time contenders on one cohort.

    From a cold cache each runs an epoch that is not timed before. A virtual machine gets memory
    from its host as pages are first used, at less than the rate of a disk, and which pages those
    are depends on what the process before left: without it a contender after another one was up
    to 1.5 times as slow as after one of its kind, reading from end to end as well.

    Args:
        name: What the cohort is called.
        cohort: The cohort.
        folder: Where its copies are.
        contenders: Names in `CONTENDERS` or `FLOORS`.
        settings: How to run.
        say: Told what comes next.
        keep: Given the rows after each round, and the number of rounds in them.

    Raises:
        ImmoError: If this project's own loader fails.
    """
    notes: dict[str, list[str]] = {contender: [] for contender in contenders}
    for contender in contenders:
        if wrong := _refused(contender, folder, settings, say):
            notes[contender].append(wrong)
    runs: dict[tuple[str, State], list[list[Run]]] = {}
    rows: list[Row] = []
    for turn in range(settings.repeats):
        for state in settings.states:
            say(f"{name}, round {turn + 1} of {settings.repeats}, {state}")
            for contender, epochs in _order(contenders, turn):
                if not notes[contender]:
                    task = _task(contender, folder, settings, state, epochs)
                    try:
                        if state == "cold":
                            _call(replace(task, epochs=1), settings)
                        found = _run(task, settings)
                    except Failed as error:
                        notes[contender].append(_failure(contender, str(error)))
                        continue
                    rounds = runs.setdefault((contender, state), [])
                    if len(rounds) <= turn:
                        rounds.append([])
                    rounds[-1].append(found)
        rows = [
            _row(name, contender, state, runs, notes[contender])
            for state in settings.states
            for contender in contenders
        ]
        keep(rows, turn + 1)
    return rows


def _order(contenders: Sequence[str], turn: int) -> list[tuple[str, int]]:
    """Who runs in a round, for how many epochs: the floor right before and after the loader."""
    first: list[tuple[str, int]] = []
    if "read" in contenders:
        first.append(("read", 1))
    first.append(("immo", EPOCHS))
    if "read" in contenders:
        first.append(("read", 1))
    rest = [
        (name, 1 if name in FLOORS else EPOCHS)
        for name in contenders
        if name not in ("read", "immo")
    ]
    shift = turn % max(1, len(rest))
    return first + rest[shift:] + rest[:shift]


def _row(
    name: str,
    contender: str,
    state: State,
    runs: dict[tuple[str, State], list[list[Run]]],
    notes: Sequence[str],
) -> Row:
    rounds = [] if notes else runs.get((contender, state), [])
    floors = [floor_rate(found) for found in runs.get(("read", state), [])]
    if contender == "read":
        found = [run for turn in rounds for run in turn]
        return make_row(name, contender, state, found, (), notes)
    return make_row(name, contender, state, [turn[0] for turn in rounds], floors, notes)


def _task(
    contender: str, folder: Path, settings: Settings, state: State, epochs: int, check: int = 0
) -> Task:
    is_whole = contender in FLOORS or CONTENDERS[contender].is_whole
    return Task(
        contender=contender,
        folder=str(folder),
        copy="shards" if contender in FLOORS else CONTENDERS[contender].copy,
        state=state,
        batch_size=settings.batch_size,
        epochs=epochs,
        memory_bytes=settings.memory_bytes,
        seconds=None if is_whole else settings.seconds,
        check=check,
    )


def _refused(
    contender: str, folder: Path, settings: Settings, say: Callable[[str], None]
) -> str | None:
    """Why a contender is not timed; None if its batches are right."""
    if contender in FLOORS:
        return None
    say(f"checking the batches of {contender}")
    check = -1 if CONTENDERS[contender].is_whole else _CHECKED_BATCHES
    try:
        wrong = _call(_task(contender, folder, settings, "cold", 1, check), settings)[0]["wrong"]
    except Failed as error:
        return _failure(contender, str(error))
    return None if wrong is None else f"not timed: {wrong}"


def _failure(contender: str, message: str) -> str:
    if contender == "immo":
        text = f"bench loader: the loader failed: {message}"
        raise ImmoError(text)
    return f"failed: {message}"


def _run(task: Task, settings: Settings) -> Run:
    printed, points = _call(task, settings)
    epochs = printed["epochs"]
    curve: list[tuple[float, float, float]] = []
    private, total = [], []
    passed = 0.0
    for epoch in epochs:
        began, ended = epoch["began"], epoch["ended"]
        found = between(points, began, ended)
        private.append(max((point.private_mb for point in found), default=0.0))
        total.append(max((point.total_mb for point in found), default=0.0))
        curve += [
            (
                round(passed + point.at - began, 3),
                round(point.private_mb, 1),
                round(point.total_mb, 1),
            )
            for point in found
        ]
        passed += ended - began
    return Run(tuple(epochs), tuple(private), tuple(total), tuple(curve))


def _call(task: Task, settings: Settings) -> tuple[dict[str, Any], Any]:
    words = [sys.executable, "-m", "immo_hpc.bench.loader_child", json.dumps(asdict(task))]
    out, errors, code, points = watch(words, settings.interval_s)
    if code:
        raise Failed((errors.strip().splitlines() or [f"it ended with code {code}"])[-1])
    printed: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return printed, points
