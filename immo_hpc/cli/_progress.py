"""Progress of training: a bar on a terminal, one plain line an epoch otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from immo_hpc.cli._console import status


@contextmanager
def epoch_progress() -> Iterator[Callable[[Any, int], None]]:
    """Give a function to call with the record of each finished epoch and the most epochs."""
    if not sys.stderr.isatty():
        yield lambda record, epochs: status(_line(record, epochs))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=None, state="", visible=False)

        def show(record: Any, epochs: int) -> None:
            done = record.epoch + 1
            bar.update(task, completed=done, total=epochs, state=_state(record), visible=True)

        yield show


def _line(record: Any, epochs: int) -> str:
    return f"epoch {record.epoch + 1}/{epochs}  {_state(record)}  {record.seconds:.2f} s"


def _state(record: Any) -> str:
    held_out = "" if record.validation is None else f"  held-out {record.validation:.4f}"
    return f"loss {record.loss:.4f}{held_out}"
