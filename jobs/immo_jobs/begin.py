"""How a worker's Python begins: a request to stop waits until there is somebody to hear it.

``python -m immo_jobs.begin ... FOLDER`` stands where Submitit would start its own module. Slurm
may signal a process from its first moment on, and Python, Submitit and the task's files take a
second to load. A signal in that time would end the worker, and the job with it; held back, it
is delivered once `immo_jobs.child.StopRelay` listens.
"""

from __future__ import annotations

import signal
import sys

REQUESTS = (signal.SIGUSR2, signal.SIGTERM)


def hold_back() -> None:
    """Let requests to stop wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)


def let_through() -> None:
    """Deliver them, those that have waited first."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, REQUESTS)


def main() -> None:
    """Entry of the job; the last argument is Submitit's folder."""
    hold_back()
    from submitit.core.submission import process_job

    process_job(sys.argv[-1])


if __name__ == "__main__":
    main()
