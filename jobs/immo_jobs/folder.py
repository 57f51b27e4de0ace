"""The job folder: what was asked for, what became of it, and nothing that is only in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from immo_hpc._version import __version__
from immo_hpc.errors import OutputError, RunError
from immo_hpc.files import new_folder, refuse_output
from immo_hpc.lines import append_line, read_lines
from immo_jobs.profile import Profile, validated_profile
from immo_jobs.state import TaskFolder
from immo_jobs.task import Task, task_from_dict

FORMAT = "immo-job"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Submission:
    """Tasks that were handed to an executor at one time.

    Attributes:
        executor: Its name.
        host: Where it was done.
        workers: Names of the tasks of each worker, by the worker's id (a Slurm job or array
            element; a process number with its start time).
    """

    executor: str
    host: str
    workers: dict[str, list[str]]


@dataclass(frozen=True)
class JobFolder:
    """A job on disk.

    Attributes:
        path: The folder, absolute.
    """

    path: Path

    @property
    def description(self) -> Path:
        """Profile, tasks, version; JSON, written last."""
        return self.path / "job.json"

    @property
    def submissions(self) -> Path:
        """One line a `Submission`."""
        return self.path / "submissions.jsonl"

    @property
    def cancelled(self) -> Path:
        """Present once the job is to stop: workers look for it."""
        return self.path / "cancelled"

    @property
    def submitit(self) -> Path:
        """Submitit's own files: scripts, pickles of its callables, output of the workers."""
        return self.path / "submitit"

    @property
    def lease(self) -> Path:
        """Held while something is submitted."""
        return self.path / "submit.lease"

    def worker(self, name: str) -> Path:
        """File in which a worker says which tasks are its."""
        return self.path / "workers" / f"{name}.json"

    def task_folder(self, name: str) -> TaskFolder:
        """Folder of one task."""
        return TaskFolder(self.path / "tasks" / name)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The description.

        Raises:
            RunError: If the folder is no job folder of this version.
        """
        try:
            values = json.loads(self.description.read_text(encoding="utf-8"))
            found = values["format"], values["format_version"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            message = (
                f"{self.description}: not readable ({error}), so {self.path} is no job folder. "
                "Name the folder that immo submit printed (it ends in .jobs)."
            )
            raise RunError(message) from error
        if found != (FORMAT, FORMAT_VERSION):
            message = (
                f"{self.description}: expected {FORMAT} version {FORMAT_VERSION}, found "
                f"{found[0]} version {found[1]}. Use the version of immo-hpc that wrote it."
            )
            raise RunError(message)
        return dict(values)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order they were asked for."""
        return tuple(self.values["tasks"])

    @cached_property
    def profile(self) -> Profile:
        """The profile the job was submitted with."""
        return validated_profile(self.values["profile"], where=str(self.description))

    def task(self, name: str) -> Task:
        """One task.

        Raises:
            RunError: If there is none of that name, or its file is damaged.
        """
        if name not in self.names:
            message = f"{self.path}: there is no task '{name}'; the tasks are {_some(self.names)}."
            raise RunError(message)
        path = self.task_folder(name).task
        try:
            return task_from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, LookupError, TypeError) as error:
            message = f"{path}: not readable as a task ({error}). Submit anew in another folder."
            raise RunError(message) from error

    def read_submissions(self) -> list[Submission]:
        """What was handed to executors, oldest first."""
        return [
            Submission(line["executor"], line["host"], line["workers"])
            for line in read_lines(self.submissions)
        ]

    def add_submission(self, submission: Submission) -> None:
        """Note what was handed over."""
        values = {
            "executor": submission.executor,
            "host": submission.host,
            "time": time.time(),
            "workers": submission.workers,
        }
        append_line(self.submissions, values)


def create_job(path: Path, verb: str, tasks: Sequence[Task], profile: Profile) -> JobFolder:
    """Make a job folder with its tasks.

    Raises:
        OutputError: If there is a job already, or the folder cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        message = (
            f"{path}: expected nothing there, found an earlier job. See 'immo status {path}', "
            f"go on with 'immo resume {path}', or choose another folder with --jobs."
        )
        raise OutputError(message)
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "verb": verb,
        "profile": profile.model_dump(mode="json"),
        "tasks": [task.name for task in tasks],
    }
    make_folder(path.parent, profile.mode)
    with new_folder(path) as temporary:
        new = JobFolder(temporary)
        temporary.chmod(profile.mode)
        for name in ("tasks", "workers", "submitit"):
            make_folder(temporary / name, profile.mode)
        for task in tasks:
            folder = new.task_folder(task.name)
            make_folder(folder.path, profile.mode)
            folder.task.write_text(task.to_json(), encoding="utf-8")
        new.description.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return JobFolder(path)


def make_folder(path: Path, mode: int) -> None:
    """Make a folder, and those above it, of exactly this mode; one that is there keeps its own.

    Raises:
        OutputError: If it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
    except OSError as error:
        refuse_output(path, error)


def find_job(path: Path) -> JobFolder:
    """The job at ``path``: the job folder itself, or the folder of runs it stands beside.

    Raises:
        RunError: If there is none.
    """
    path = path.absolute()
    beside = default_folder(path)
    job = JobFolder(path if (path / "job.json").exists() or not beside.exists() else beside)
    _ = job.values
    return job


def default_folder(out: Path) -> Path:
    """Where the job that fills ``out`` stands.

    Example:
        >>> default_folder(Path("/data/runs")).as_posix()
        '/data/runs.jobs'
    """
    return out.with_name(out.name + ".jobs")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
