"""Questions to Slurm's commands, and their answers as rows of text."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

_PATIENCE_S = 60


def ask(*command: str) -> str | None:
    """What a command of Slurm prints; None if it cannot be asked."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0 and "invalid job id" in done.stderr.lower():
        return ""  # Slurm has forgotten it, which is an answer.
    return done.stdout if done.returncode == 0 else None


def ask_queue(jobs: Sequence[str]) -> list[list[str]] | None:
    """Worker, state and reason of what these jobs have in the queue; None if that is not told."""
    said = ask("squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--jobs={','.join(jobs)}")
    return None if said is None else rows(said, 3)


def ask_accounts(jobs: Sequence[str]) -> list[list[str]] | None:
    """Worker and state of what the accounts know of these jobs; None if they cannot be asked."""
    said = ask(
        *("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State"),
        f"--jobs={','.join(jobs)}",
    )
    return None if said is None else rows(said, 2)


def is_running(worker: str) -> bool:
    """Whether Slurm calls the job of a worker running: not after scancel or at its time limit."""
    return [worker, "RUNNING"] in [row[:2] for row in ask_queue([worker]) or ()]


def rows(text: str, num_columns: int) -> list[list[str]]:
    r"""Lines of this many columns.

    Example:
        >>> rows("7_0|RUNNING|None\n\n", 3)
        [['7_0', 'RUNNING', 'None']]
    """
    found = [[part.strip() for part in line.split("|")] for line in text.splitlines()]
    return [row for row in found if len(row) == num_columns]
