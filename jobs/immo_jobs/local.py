"""Workers as processes of this machine, through Submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from immo_jobs.command import worker_python
from immo_jobs.executor import Seen
from immo_jobs.folder import JobFolder, Submission
from immo_jobs.profile import Profile
from immo_jobs.worker import Worker

# Submitit's local jobs always have a limit; ours have none unless the profile says so.
_NO_LIMIT_MIN = 60 * 24 * 365


class LocalWorkers:
    """``array_throttle`` processes that work through the tasks together."""

    def check(self, profile: Profile) -> tuple[str, ...]:
        """Say what the profile asks for that does not exist here."""
        ignored = [name for name in ("partition", "account", "qos") if getattr(profile, name)]
        if not ignored:
            return ()
        return (f"{', '.join(ignored)} of the profile mean nothing without Slurm.",)

    def preview(self, job: JobFolder, names: Sequence[str], profile: Profile) -> str:
        """What is started."""
        return f"# {_num_workers(names, profile)} processes of this machine work through the tasks"

    def submit(self, job: JobFolder, names: Sequence[str]) -> None:
        """Start the processes; they outlive this one."""
        from submitit import LocalExecutor

        profile = job.profile
        executor = LocalExecutor(job.submitit, max_num_timeout=1_000_000, python=worker_python())
        executor.update_parameters(
            timeout_min=profile.time_min or _NO_LIMIT_MIN,
            signal_delay_s=profile.signal_lead_s,
            gpus_per_node=profile.gpus,
            setup=list(profile.set_up),
        )
        count = _num_workers(names, profile)
        for first in range(count):
            # Each begins elsewhere; the leases of the tasks keep them apart.
            order = (*names[first:], *names[:first])
            with _output_to(job.submitit / "controllers.txt"):
                started = executor.submit(Worker(str(job.path), order))
            worker = f"{started.job_id}:{started_at(int(started.job_id))}"
            job.add_submission(Submission("local", socket.gethostname(), {worker: list(order)}))

    def look(self, submissions: Sequence[Submission]) -> Mapping[str, Seen]:
        """Whether the processes live, where that can be told."""
        return {
            worker: _seen(submission.host, worker)
            for submission in submissions
            for worker in submission.workers
        }

    def cancel(self, workers: Sequence[str]) -> None:
        """The mark in the job folder is enough: workers look for it many times a second."""

    def withdraw(self, workers: Sequence[str]) -> None:
        """None of them waits in a queue."""


def started_at(pid: int) -> str:
    """Start of a process in ticks since boot; empty if there is none of this number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in {"Z", "X", "x"} else fields[19]


def _seen(host: str, worker: str) -> Seen:
    if host != socket.gethostname():
        return Seen("unknown", f"started on {host}")
    pid, _, start = worker.partition(":")
    if start and started_at(int(pid)) == start:
        return Seen("working")
    return Seen("gone", "its process has ended")


def _num_workers(names: Sequence[str], profile: Profile) -> int:
    return min(len(names), profile.array_throttle)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Processes started meanwhile write to ``path``: they must not hold our caller's pipes open."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
