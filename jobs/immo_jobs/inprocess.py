"""Workers in this very process, one task after the other: for tests and small things."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from immo_jobs.executor import Seen
from immo_jobs.folder import JobFolder, Submission
from immo_jobs.profile import Profile
from immo_jobs.worker import Worker, worker_id


class InProcessWorkers:
    """Tasks are over, or were interrupted, when `submit` comes back."""

    def check(self, profile: Profile) -> tuple[str, ...]:
        """Nothing is needed."""
        return ()

    def preview(self, job: JobFolder, names: Sequence[str], profile: Profile) -> str:
        """The commands."""
        return "# one after the other, in this process"

    def submit(self, job: JobFolder, names: Sequence[str]) -> None:
        """Run the tasks."""
        workers = {worker_id(): list(names)}
        job.add_submission(Submission("inprocess", socket.gethostname(), workers))
        Worker(str(job.path), tuple(names)).run()

    def look(self, submissions: Sequence[Submission]) -> Mapping[str, Seen]:
        """Workers that live show by their heartbeat."""
        return {
            worker: Seen("gone", "its process has ended")
            for submission in submissions
            for worker in submission.workers
        }

    def cancel(self, workers: Sequence[str]) -> None:
        """The mark in the job folder is enough."""

    def withdraw(self, workers: Sequence[str]) -> None:
        """None of them waits in a queue."""
