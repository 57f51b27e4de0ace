"""How a task stands, as its folder tells: the last state, and one line an attempt."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from immo_hpc.errors import RunError
from immo_hpc.files import write_text

QUEUED, RUNNING, INTERRUPTED = "queued", "running", "interrupted"
FINISHED, FAILED, GAVE_UP = "finished", "failed", "gave up"
# No worker takes these up again; `immo resume` does with all but the first.
OVER = (FINISHED, FAILED, GAVE_UP)


@dataclass(frozen=True)
class TaskState:
    """What is known of a task.

    Attributes:
        state: One of the names above.
        reason: Why, in words; empty where there is nothing to say.
        attempts: Attempts begun since the task was submitted.
        fruitless: Attempts in a row that ended no further than they began.
        mark: How far the work was when the last attempt was begun (`immo_jobs.task.mark_of`).
        worker: Who works or worked on it: a Slurm job, or a process of a host.
        since: When this state began, seconds since 1970.
    """

    state: str = QUEUED
    reason: str = ""
    attempts: int = 0
    fruitless: int = 0
    mark: str = ""
    worker: str = ""
    since: float = 0.0


@dataclass(frozen=True)
class TaskFolder:
    """The paths of one task; nothing else spells them.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def task(self) -> Path:
        """The unit of work (`immo_jobs.task.Task`)."""
        return self.path / "task.json"

    @property
    def state(self) -> Path:
        """The last `TaskState`."""
        return self.path / "state.json"

    @property
    def attempts(self) -> Path:
        """One line an attempt that ended."""
        return self.path / "attempts.jsonl"

    @property
    def heartbeat(self) -> Path:
        """Touched by the worker while the command runs."""
        return self.path / "heartbeat"

    @property
    def lease(self) -> Path:
        """Held by the worker."""
        return self.path / "worker.lease"

    @property
    def log(self) -> Path:
        """What the command said, all attempts."""
        return self.path / "log.txt"


def read_state(folder: TaskFolder) -> TaskState:
    """The state on disk; queued if there is none yet.

    Raises:
        RunError: If the file is damaged.
    """
    try:
        values = json.loads(folder.state.read_text(encoding="utf-8"))
        return TaskState(**{field.name: values[field.name] for field in fields(TaskState)})
    except FileNotFoundError:
        return TaskState()
    except (ValueError, LookupError, TypeError) as error:
        message = (
            f"{folder.state}: not readable as the state of a task ({error}). Remove this file; "
            "the task then counts as never started, and its run goes on from its checkpoint."
        )
        raise RunError(message) from error


def write_state(folder: TaskFolder, state: TaskState) -> None:
    """Replace the state in one step.

    Raises:
        OutputError: If the folder cannot be written.
    """
    write_text(folder.state, json.dumps(asdict(state), indent=1) + "\n")


def seconds_since_beat(folder: TaskFolder) -> float | None:
    """Age of the last heartbeat by this host's clock, seconds; None before the first."""
    try:
        return max(0.0, time.time() - folder.heartbeat.stat().st_mtime)
    except OSError:
        return None
