"""The state of a job as a table for people and as values for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from immo_jobs.folder import JobFolder
from immo_jobs.state import FINISHED
from immo_jobs.survey import TaskRow

_HEAD = ("task", "state", "attempts", "epochs", "heartbeat", "reason")


def status_values(job: JobFolder, rows: Sequence[TaskRow]) -> dict[str, Any]:
    """JSON-able values."""
    return {"job": str(job.path), "tasks": [asdict(row) for row in rows]}


def status_text(job: JobFolder, rows: Sequence[TaskRow]) -> str:
    """A table with one line a task, a count of the states, and what to do next."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD) - 1)]
    lines = [
        "  ".join(
            [*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[-1]]
        )
        for line in cells
    ]
    counts = Counter(row.state for row in rows)
    counted = ", ".join(f"{number} {state}" for state, number in counts.items())
    left = [row for row in rows if row.state != FINISHED and not row.is_live]
    hint = f"\ngo on with the {len(left)} that ended early: immo resume {job.path}" if left else ""
    return "\n".join(line.rstrip() for line in lines) + f"\n{counted}" + hint


def _cells(row: TaskRow) -> tuple[str, ...]:
    return (
        row.name,
        row.state,
        str(row.attempts),
        "-" if row.epochs is None else str(row.epochs),
        "-" if row.beat_s is None else age(row.beat_s),
        row.reason,
    )


def age(seconds: float) -> str:
    """A time span in one unit.

    Example:
        >>> age(42.4), age(600), age(200000)
        ('42 s', '10 min', '56 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
