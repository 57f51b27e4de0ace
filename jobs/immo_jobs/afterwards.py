"""The last line of a batch script: a task whose worker died without a word is queued again.

``python -m immo_jobs.afterwards JOB_FOLDER CODE`` runs after ``srun`` has ended with CODE and
ends with CODE itself. Where the whole step was killed (memory, SIGKILL), nobody else is left to
ask for another attempt; where the batch script is killed too (scancel, the time limit), this
does not run, and nothing is queued again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from immo_hpc.errors import BusyError
from immo_hpc.lease import hold
from immo_jobs.attempt import close_silent
from immo_jobs.folder import JobFolder
from immo_jobs.state import INTERRUPTED, RUNNING, read_state
from immo_jobs.worker import worker_id

_KILLED = 128 + 9


def queue_again(job: JobFolder, code: int) -> list[str]:
    """Close the silent attempts of this Slurm job, and requeue it if one of them may go on.

    Args:
        job: The job folder.
        code: How srun ended.

    Returns:
        Names of the tasks that go on.
    """
    me = worker_id()
    try:
        names = json.loads(job.worker(me).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    left = [name for name in names if _may_go_on(job, name, me, code)]
    if left and not job.cancelled.exists():
        subprocess.run(["scontrol", "requeue", me], check=False, timeout=60)
    return left


def _may_go_on(job: JobFolder, name: str, worker: str, code: int) -> bool:
    folder = job.task_folder(name)
    hint = "SIGKILL: out of memory, or by hand" if code == _KILLED else f"srun ended with {code}"
    reason = f"the worker was killed without a word ({hint})"
    try:
        with hold(folder.lease):
            before = read_state(folder)
            if before.state != RUNNING or before.worker != worker:
                return False
            return close_silent(job, job.task(name), reason).state == INTERRUPTED
    except BusyError:
        return False


def main() -> None:
    """Entry of the batch script."""
    folder, code = Path(sys.argv[1]), int(sys.argv[2])
    if code != 0:
        queue_again(JobFolder(folder), code)
    sys.exit(code)


if __name__ == "__main__":
    main()
