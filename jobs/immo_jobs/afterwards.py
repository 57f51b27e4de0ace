"""The last line of a batch script: a task whose worker died without a word is queued again.

``python -m immo_jobs.afterwards JOB_FOLDER CODE`` runs after ``srun`` has ended with CODE and
ends with CODE itself. Where the whole step was killed (memory, SIGKILL), or the worker by a
signal in its first moments, nobody else is left to ask for another attempt; where the batch
script is killed too (scancel, the time limit), this does not run, and nothing is queued again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from immo_hpc.errors import BusyError
from immo_hpc.lease import hold
from immo_hpc.processes import signal_name
from immo_jobs.asking import is_running
from immo_jobs.attempt import close_early, close_silent
from immo_jobs.folder import JobFolder
from immo_jobs.state import INTERRUPTED, QUEUED, RUNNING, read_state
from immo_jobs.worker import worker_id

# A shell's exit code of a command that a signal ended is above this by the signal's number.
_BY_SIGNAL = 128
_KILLED = _BY_SIGNAL + 9


def queue_again(job: JobFolder, code: int) -> list[str]:
    """Close the silent attempts of this Slurm job, and requeue it if one of them may go on.

    Args:
        job: The job folder.
        code: How srun ended.

    Returns:
        Names of the tasks that go on.
    """
    me = worker_id()
    left = [name for name in _names(job, me) if _may_go_on(job, name, me, code)]
    if left and not job.cancelled.exists():
        subprocess.run(["scontrol", "requeue", me], check=False, timeout=60)
    return left


def _names(job: JobFolder, worker: str) -> list[str]:
    """Tasks of a worker: as it has said, or as it was submitted where it came to say nothing."""
    with contextlib.suppress(OSError, ValueError):
        return list(json.loads(job.worker(worker).read_text(encoding="utf-8")))
    given = [one.workers.get(worker, []) for one in job.read_submissions()]
    return given[-1] if given else []


def _may_go_on(job: JobFolder, name: str, worker: str, code: int) -> bool:
    folder, task = job.task_folder(name), job.task(name)
    reason = f"the worker was killed without a word ({_hint(code)})"
    try:
        with hold(folder.lease):
            before = read_state(folder)
            if before.state == RUNNING and before.worker == worker:
                return close_silent(job, task, reason).state == INTERRUPTED
            # What the worker has closed it has queued again itself, unless it was cancelled.
            is_early = before.state in (QUEUED, INTERRUPTED) and _is_by_signal(code)
            if is_early and is_running(worker):
                early = f"{reason}, before it began"
                return close_early(job, task, worker, early).state == INTERRUPTED
            return False
    except BusyError:
        return False


def _hint(code: int) -> str:
    if code == _KILLED:
        return "SIGKILL: out of memory, or by hand"
    return signal_name(_BY_SIGNAL - code) if _is_by_signal(code) else f"srun ended with {code}"


def _is_by_signal(code: int) -> bool:
    return _BY_SIGNAL < code <= _BY_SIGNAL + 64


def main() -> None:
    """Entry of the batch script."""
    folder, code = Path(sys.argv[1]), int(sys.argv[2])
    if code != 0:
        queue_again(JobFolder(folder), code)
    sys.exit(code)


if __name__ == "__main__":
    main()
