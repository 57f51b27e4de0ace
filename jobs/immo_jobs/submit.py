"""Submitting a job, going on with it, and stopping it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from immo_hpc.errors import ImmoError
from immo_hpc.files import write_text
from immo_hpc.lease import hold
from immo_jobs.attempt import close_silent
from immo_jobs.check import check_folder, check_programs
from immo_jobs.command import started_command
from immo_jobs.executor import executor_of
from immo_jobs.folder import JobFolder, create_job
from immo_jobs.profile import Profile
from immo_jobs.state import FINISHED, QUEUED, TaskState, write_state
from immo_jobs.survey import survey
from immo_jobs.task import Task


@dataclass(frozen=True)
class Submitted:
    """What was handed over.

    Attributes:
        job: The job folder.
        names: Its tasks that were handed over.
        notices: What the user should know, as sentences.
    """

    job: JobFolder
    names: tuple[str, ...]
    notices: tuple[str, ...]


def preview(path: Path, tasks: Sequence[Task], profile: Profile) -> str:
    """What `submit` would start, as text; nothing is written, and nothing is asked for.

    Raises:
        ConfigError: If the command cannot be put together.
    """
    names = [task.name for task in tasks]
    script = executor_of(profile.executor).preview(JobFolder(path), names, profile)
    lines = [script, f"# job folder: {path}", *(f"# set-up: {line}" for line in profile.set_up)]
    lines += [f"# {task.name}:\n{shlex.join(started_command(task, profile))}" for task in tasks]
    return "\n".join(lines)


def submit(path: Path, verb: str, tasks: Sequence[Task], profile: Profile, where: str) -> Submitted:
    """Check everything, make the job folder, hand the tasks to the executor.

    Args:
        path: The new job folder.
        verb: What the job does.
        tasks: Its tasks.
        profile: Where and with what.
        where: Name of the profile, for messages.

    Raises:
        ImmoError: If something does not fit; then nothing is submitted, and no job folder left.
    """
    profile.require_keys(where)
    executor = executor_of(profile.executor)
    notices = [*executor.check(profile), *check_programs(profile)]
    for folder in dict.fromkeys([path.parent, *(Path(task.out).parent for task in tasks)]):
        check_folder(folder, profile.mode)
    job = create_job(path, verb, tasks, profile)
    names = tuple(task.name for task in tasks)
    try:
        executor.submit(job, names)
    except ImmoError:
        if not job.read_submissions():
            shutil.rmtree(path)
        raise
    return Submitted(job, names, tuple(notices))


def resume(job: JobFolder) -> Submitted:
    """Hand over again what is neither finished nor with a living worker.

    Raises:
        BusyError: If another process is submitting for this job.
        ImmoError: As in `submit`; the job folder stays.
    """
    with hold(job.lease, wait_s=10.0):
        executor = executor_of(job.profile.executor)
        notices = [*executor.check(job.profile), *check_programs(job.profile)]
        job.cancelled.unlink(missing_ok=True)
        rows = [row for row in survey(job) if row.state != FINISHED and not row.is_live]
        names = [row.name for row in rows]
        for row in rows:
            _reset(job, row.name, row.reason)
        if names:
            # A worker that is held, or could not be asked about, shall not come back as well.
            executor.cancel([worker for row in rows for worker in row.workers])
            executor.submit(job, names)
    return Submitted(job, tuple(names), tuple(notices))


def cancel(job: JobFolder) -> tuple[str, ...]:
    """Stop the job: what runs writes a checkpoint and ends, what waits never begins.

    Returns:
        Names of the tasks that were stopped.

    Raises:
        OutputError: If the job folder cannot be written.
    """
    write_text(job.cancelled, "see immo resume\n")
    live = [row for row in survey(job) if row.is_live]
    by_executor: dict[str, list[str]] = {}
    for submission in job.read_submissions():
        wanted = {worker for row in live for worker in row.workers}
        workers = [worker for worker in submission.workers if worker in wanted]
        by_executor.setdefault(submission.executor, []).extend(workers)
    for executor, workers in by_executor.items():
        executor_of(executor).withdraw(list(dict.fromkeys(workers)))
    return tuple(row.name for row in live)


def log_text(job: JobFolder, name: str, num_lines: int | None = None) -> str:
    """What a task said, and what Slurm said about it if it never got so far.

    Raises:
        RunError: If there is no such task.
    """
    _ = job.task(name)
    folder = job.task_folder(name)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in _logs(job, name)]
    said = "".join(texts) or f"{folder.log}: nothing has been said yet.\n"
    lines = said.splitlines()
    return "\n".join(lines if num_lines is None else lines[-num_lines:])


def _logs(job: JobFolder, name: str) -> list[Path]:
    folder = job.task_folder(name)
    if folder.log.exists():
        return [folder.log, *sorted(folder.path.glob("log-*.txt"))]
    workers = {
        worker.partition(":")[0]
        for submission in job.read_submissions()
        for worker, names in submission.workers.items()
        if name in names
    }
    return [path for worker in workers for path in sorted(job.submitit.glob(f"{worker}_*_log.*"))]


def _reset(job: JobFolder, name: str, reason: str) -> None:
    """Let workers take a task up again, with all its attempts before it."""
    folder = job.task_folder(name)
    with hold(folder.lease, wait_s=90.0):
        # Of an attempt that could not say how it ended, what Slurm says goes on record.
        before = close_silent(job, job.task(name), reason)
        fresh = before.state == QUEUED
        # The attempts so far stay counted; those without progress do not.
        state = TaskState() if fresh else replace(before, state=QUEUED, reason="", fruitless=0)
        write_state(folder, state)
