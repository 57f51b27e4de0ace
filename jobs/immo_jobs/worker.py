"""What runs on the job's host: a callable for Submitit that works through tasks.

It is pickled by Submitit into the job's own folder and loads no more than its two
fields; everything else is read from files, so that any attempt may be the first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from immo_hpc.errors import BusyError, ImmoError
from immo_hpc.files import write_text
from immo_hpc.lease import hold
from immo_jobs.asking import is_running
from immo_jobs.attempt import attempt, close_early, close_silent
from immo_jobs.child import StopRelay, run_child
from immo_jobs.command import environment_of, rank_here, ranks_of, started_command
from immo_jobs.folder import JobFolder
from immo_jobs.state import (
    FAILED,
    GAVE_UP,
    INTERRUPTED,
    OVER,
    QUEUED,
    TaskState,
    read_state,
    write_state,
)

# A worker that a failed node left behind is silent for a minute before it counts as gone.
_WAIT_S = 180.0


class Worker:
    """Works through tasks of a job, those that nobody else works at.

    Args:
        folder: The job folder.
        names: The tasks: one for an element of an array, all for processes of one machine.
    """

    def __init__(self, folder: str, names: tuple[str, ...]) -> None:
        self.folder, self.names = folder, names

    def __call__(self) -> dict[str, str]:
        """Work; ends with exit code 1 if a task failed, so that Slurm's records say so.

        Returns:
            The state of each task.
        """
        states = self.run()
        if set(states.values()) & {FAILED, GAVE_UP}:
            sys.exit(1)
        return states

    def run(self) -> dict[str, str]:
        """Work, and give the state of each task."""
        job = JobFolder(Path(self.folder))
        with _umask(0o777 & ~job.profile.mode), StopRelay() as relay:
            if rank_here() > 0:
                sys.exit(_follow(job, self.names[0], relay))
            states = {name: self._work(job, name, relay).state for name in self.names}
            # Asked to stop before it came to them, it has not begun the rest.
            open_states = {INTERRUPTED, QUEUED} if relay.name else {INTERRUPTED}
            left = [name for name, state in states.items() if state in open_states]
            if left and not job.cancelled.exists() and _may_come_again(relay.name):
                _requeue(job, left, relay)
        return states

    def checkpoint(self) -> Any:
        """What Submitit is to run again after a requeue: the same, as all state is on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _work(self, job: JobFolder, name: str, relay: StopRelay) -> TaskState:
        """Attempt one task until it is over or this worker is to stop."""
        folder, task = job.task_folder(name), job.task(name)
        wait_s = _WAIT_S if len(self.names) == 1 else 0.0
        try:
            with hold(folder.lease, wait_s=wait_s):
                if len(self.names) == 1:
                    write_text(job.worker(worker_id()), f'["{name}"]\n')
                state = close_silent(job, task, "its worker was killed, or its node was lost")
                if len(self.names) == 1 and relay.name and state.state not in OVER:
                    # It counts, so that a time limit too short to begin in is given up.
                    reason = f"asked to stop on {relay.name} before it began"
                    return close_early(job, task, worker_id(), reason)
                while state.state not in OVER and relay.name is None:
                    if job.cancelled.exists():
                        relay.cancel()
                        break
                    state = attempt(job, task, worker_id(), relay)
                    if job.profile.num_processes > 1:
                        break  # All processes of the task must begin together.
                return state
        except BusyError:
            return read_state(folder)
        except ImmoError as error:
            # One task's trouble (a full disk, a damaged file) must not stop the others.
            return _note_failure(job, name, str(error))


def worker_id() -> str:
    """Name of this worker: its Slurm job or array element, or this process of this host."""
    array, element = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    if array and element:
        return f"{array}_{element}"
    return os.environ.get("SLURM_JOB_ID") or f"{socket.gethostname()}-{os.getpid()}"


def _may_come_again(asked_by: str | None) -> bool:
    """Whether what was stopped should be queued again by this worker.

    SIGTERM comes before preemption, after scancel and at the time limit. A job that ends by itself
    is not queued again by Slurm even if it is preempted, so the worker must do it; after the
    other two Slurm does not call the job running any more.
    """
    if asked_by in ("SIGUSR2", None):
        return True
    return "SLURM_JOB_ID" in os.environ and is_running(worker_id())


def _requeue(job: JobFolder, left: list[str], relay: StopRelay) -> None:
    """Have Slurm, or the local controller, start this worker again; this process ends here."""
    if "SUBMITIT_EXECUTOR" not in os.environ or not callable(relay.requeue):
        return
    try:
        relay.requeue(signal.SIGUSR2, None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is written down
        for name in left:
            folder = job.task_folder(name)
            state = read_state(folder)
            reason = f"{state.reason}; it could not be queued again: {error}"
            write_state(folder, replace(state, reason=reason))


def _follow(job: JobFolder, name: str, relay: StopRelay) -> int:
    """Run the command as a further process of a task; the first one keeps the books."""
    task, profile = job.task(name), job.profile
    environment = environment_of(profile, os.environ) | ranks_of(profile, os.environ)
    log = job.task_folder(name).path / f"log-{rank_here()}.txt"

    def look() -> None:
        if job.cancelled.exists():
            relay.cancel()

    code = run_child(started_command(task, profile), environment, log, relay, look)
    return code if code >= 0 else 128 - code


def _note_failure(job: JobFolder, name: str, reason: str) -> TaskState:
    folder = job.task_folder(name)
    state = TaskState(state=FAILED, reason=reason, since=time.time())
    with contextlib.suppress(ImmoError):
        state = replace(read_state(folder), state=FAILED, reason=reason, since=time.time())
        write_state(folder, state)
    return state


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
