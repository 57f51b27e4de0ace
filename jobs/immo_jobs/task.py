"""The unit of work: a command with a folder that it fills, as JSON on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One command that may be started again and again until it is done.

    Attributes:
        name: Short name, unique within its job; also the name of its folder there.
        command: Program and arguments, with absolute paths.
        out: What the command fills: a run folder, or a folder of shards.
        progress: Folder that shows how far the work is (`immo_jobs.progress`).
        folders: Folders that the command must see in a container.
    """

    name: str
    command: tuple[str, ...]
    out: str
    progress: str
    folders: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The task as one JSON object."""
        return json.dumps(asdict(self), indent=1) + "\n"


def task_from_dict(values: dict[str, Any]) -> Task:
    """The task that `Task.to_json` wrote.

    Raises:
        KeyError, TypeError: If keys are missing.

    Example:
        >>> task = Task("a", ("immo", "train"), "/r/a", "/r/a/checkpoints")
        >>> task_from_dict(json.loads(task.to_json())) == task
        True
    """
    return Task(
        name=values["name"],
        command=tuple(values["command"]),
        out=values["out"],
        progress=values["progress"],
        folders=tuple(values["folders"]),
    )


def mark_of(task: Task) -> str:
    """How far the work is: a text that changes whenever it moved on.

    For a training the newest checkpoint's name, else the number of files made. Only folders
    are listed; nothing is opened.
    """
    folder = Path(task.progress)
    try:
        names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return ""
    checkpoints = [name for name in names if name.startswith("epoch-")]
    if checkpoints:
        return max(checkpoints).removesuffix(".safetensors")
    made = [name for name in names if not name.endswith(".lease")]
    return f"{len(made)} files" if made else ""


def epochs_of(task: Task) -> int | None:
    """Epochs that a training has finished; None where there is no record of epochs yet."""
    path = Path(task.out) / "metrics.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            lines = file.read().split(b"\n")[:-1]  # A last line without its end is being written.
        return int(json.loads(lines[-1])["epoch"]) + 1
    except (OSError, ValueError, LookupError, TypeError):
        return None
