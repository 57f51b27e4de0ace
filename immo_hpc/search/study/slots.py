"""Taking a trial up: one worker at a time, and every attempt on record.

A worker holds the lease of its trial. A trial whose worker is dead is taken over by any
other and gone on with from its checkpoint. Attempts that began where the one before began
made no progress; too many of them in a row, and the trial is given up.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immo_hpc.lease import Lease, Watcher
from immo_hpc.lines import append_line, read_lines
from immo_hpc.search.study.records import RESULT, Ledger, Result, Trial, add_result

# Attempts in a row without progress before a trial is given up.
MOST_FRUITLESS = 3
_LEASE, _ATTEMPTS = "worker.lease", "attempts.jsonl"


@dataclass(frozen=True)
class Slot:
    """A trial in the hands of this worker.

    Attributes:
        folder: The trial's folder.
        trial: What is tried.
        lease: Held as long as it is this worker's.
        attempt: How often it was taken up, this time included.
        spent_s: Seconds that earlier attempts report.
    """

    folder: Path
    trial: Trial
    lease: Lease
    attempt: int
    spent_s: float

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name


def worker_name() -> str:
    """This process, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"


def take(ledger: Ledger, name: str, watcher: Watcher, *, retry: bool) -> Slot | None:
    """Take an open trial up, if nobody alive has it.

    Args:
        ledger: Where it stands.
        name: Name of its folder.
        watcher: What this process saw of leases so far.
        retry: Whether a trial that is given up is to be tried once more.

    Returns:
        The trial; None if another worker has it, or it is over now.

    Raises:
        OutputError: If its folder cannot be written.
    """
    folder = ledger.path / name
    lease = watcher.try_take(folder / _LEASE)
    if lease is None:
        return None
    trial = ledger.trials[name]
    if (folder / RESULT).exists():
        ledger.sync()
    lines = read_lines(folder / _ATTEMPTS)
    began = [line for line in lines if line.get("event") == "began"]
    reason = _lost(trial, [line["mark"] for line in began], mark_of(folder))
    if name in ledger.results or reason:
        if name not in ledger.results:
            wanted = retry and bool(trial.params) and trial.retry_of is None
            finish(ledger, name, Result("failed", reason=reason, retry=wanted), len(began), 0.0)
        lease.release()
        return None
    spent_s = sum(float(line.get("seconds", 0.0)) for line in lines)
    slot = Slot(folder, trial, lease, len(began) + 1, spent_s)
    note(slot, "began", mark=mark_of(folder))
    return slot


def finish(ledger: Ledger, name: str, result: Result, attempts: int, seconds: float) -> None:
    """Write a trial's result and learn it; one that was there already stays."""
    values = {
        **{key: getattr(result, key) for key in Result.__dataclass_fields__},
        "attempts": attempts,
        "seconds": seconds,
        "worker": worker_name(),
        "finished": time.time(),
    }
    add_result(ledger.path / name, Result(**values))
    ledger.sync()


def note(slot: Slot, event: str, **more: Any) -> None:
    """Add a line to the record of a trial's attempts.

    Raises:
        OutputError: If it cannot be written.
    """
    line = {"event": event, "worker": worker_name(), "at": time.time(), **more}
    append_line(slot.folder / _ATTEMPTS, line)


def mark_of(folder: Path) -> str:
    """How far a trial is: a text that changes whenever a checkpoint or a model is written."""
    done = sorted(path.parent.name for path in folder.glob("run*/model.json"))
    newest = max((path.stem for path in folder.glob("run*/checkpoints/epoch-*")), default="")
    return "+".join([*done, newest]) if done or newest else ""


def is_held(ledger: Ledger, name: str) -> bool:
    """True if a lease stands on a trial; whether its holder lives only time can tell."""
    return (ledger.path / name / _LEASE).exists()


def _lost(trial: Trial, marks: list[str], mark: str) -> str:
    """Why a trial cannot be gone on with; empty if it can."""
    if not trial.params:
        return "its record is damaged"
    fruitless = 0
    for before in reversed(marks):
        if before != mark:
            break
        fruitless += 1
    if fruitless >= MOST_FRUITLESS:
        return f"{fruitless} workers in a row were lost without progress"
    return ""
