"""How a job stands: from its files first, from its executor only where they cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from immo_jobs.executor import Seen, executor_of
from immo_jobs.folder import JobFolder, Submission
from immo_jobs.state import (
    INTERRUPTED,
    OVER,
    QUEUED,
    RUNNING,
    TaskState,
    read_state,
    seconds_since_beat,
)
from immo_jobs.task import epochs_of

# Two heartbeats of a worker. Older, or older for a slow file server, its executor is asked.
_FRESH_S = 20.0
# Slurm's words for the end of a job.
_ENDS = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "over its time limit",
    "OUT_OF_MEMORY": "over its memory",
    "NODE_FAIL": "its node was lost",
    "PREEMPTED": "preempted",
}


@dataclass(frozen=True)
class TaskRow:
    """How one task stands.

    Attributes:
        name: Its name.
        state: queued, running, interrupted, finished, failed or gave up.
        attempts: Attempts begun.
        epochs: Epochs finished; None if it is no training, or none is finished.
        beat_s: Age of the last heartbeat, seconds; None before the first.
        reason: Why, in words.
        is_live: True if a worker has it, or will have it.
        workers: Workers it was given to, latest last.
    """

    name: str
    state: str
    attempts: int
    epochs: int | None
    beat_s: float | None
    reason: str
    is_live: bool
    workers: tuple[str, ...]


def survey(job: JobFolder) -> list[TaskRow]:
    """How all tasks stand, in their order.

    Raises:
        RunError: If the job folder is damaged.
    """
    submissions = job.read_submissions()
    workers = _workers_by_task(submissions)
    states = {name: read_state(job.task_folder(name)) for name in job.names}
    beats = {name: seconds_since_beat(job.task_folder(name)) for name in job.names}
    unclear = {
        worker
        for name, state in states.items()
        if state.state not in OVER and not _is_beating(state, beats[name])
        for worker in workers.get(name, ())
    }
    seen = _look(submissions, unclear)
    is_cancelled = job.cancelled.exists()
    rows = []
    for name, state in states.items():
        given = workers.get(name, ())
        now, reason, is_live = _judge(state, beats[name], [seen[w] for w in given if w in seen])
        if is_cancelled and now in (QUEUED, INTERRUPTED) and not is_live:
            now, reason = INTERRUPTED, state.reason or "cancelled before it began"
        epochs = epochs_of(job.task(name))
        rows.append(TaskRow(name, now, state.attempts, epochs, beats[name], reason, is_live, given))
    return rows


def _judge(state: TaskState, beat_s: float | None, seen: list[Seen]) -> tuple[str, str, bool]:
    """State, reason, and whether a worker has it or will have it."""
    if state.state in OVER:
        return state.state, state.reason, False
    if _is_beating(state, beat_s):
        return RUNNING, state.reason, True
    by_phase = {view.phase: view for view in seen}
    if "waiting" in by_phase:
        why = by_phase["waiting"].word
        reason = state.reason + (f" (waits: {why})" if why not in ("", "None") else "")
        return QUEUED, reason.strip(), True
    if "working" in by_phase:
        return state.state, state.reason, True
    if "held" in by_phase:
        return INTERRUPTED, f"held by Slurm ({by_phase['held'].word})", False
    if "unknown" in by_phase:
        word = by_phase["unknown"].word
        return state.state, f"no sign of life; its worker cannot be asked from here {word}", False
    word = " ".join(view.word for view in seen[-1:] if view.word)
    if state.state == RUNNING:
        return INTERRUPTED, _end(state.reason, word), False
    if state.state == QUEUED:
        told = f"its worker is gone before it began ({word})" if seen else "was not submitted"
        return INTERRUPTED, told, False
    return INTERRUPTED, state.reason + (f" ({word})" if word else ""), False


def _end(asked: str, word: str) -> str:
    """How an attempt ended that could not say so, by the request it noted and Slurm's word."""
    said = _ENDS.get(word.partition(" ")[0], "")
    if asked:
        said = f"{said}; {asked}" if said else asked
        said += ", and killed before it had written a checkpoint"
    return f"{said or 'killed without a word'} ({word or 'its worker is gone'})"


def _is_beating(state: TaskState, beat_s: float | None) -> bool:
    return state.state == RUNNING and beat_s is not None and beat_s < _FRESH_S


def _workers_by_task(submissions: list[Submission]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for submission in submissions:
        for worker, names in submission.workers.items():
            for name in names:
                found[name] = (*found.get(name, ()), worker)
    return found


def _look(submissions: list[Submission], unclear: set[str]) -> Mapping[str, Seen]:
    seen: dict[str, Seen] = {}
    for executor in {submission.executor for submission in submissions}:
        asked = [
            Submission(executor, one.host, {w: n for w, n in one.workers.items() if w in unclear})
            for one in submissions
            if one.executor == executor and unclear & set(one.workers)
        ]
        if asked:
            seen |= executor_of(executor).look(asked)
    return seen
