"""Workers as jobs of a Slurm queue, through Submitit's Slurm executor.

Slurm is asked (`squeue`, then `sacct`) only about workers of which the files do not tell.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from immo_hpc.errors import SubmissionError
from immo_jobs.asking import ask, ask_accounts, ask_queue
from immo_jobs.command import worker_python
from immo_jobs.executor import Seen
from immo_jobs.folder import JobFolder, Submission
from immo_jobs.profile import Profile
from immo_jobs.worker import Worker

_NEEDED = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_DEFAULT_ARRAY_SIZE = 1001
_DEFAULT_TIME_MIN = 60
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
_WORKING = {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING"}


class SlurmWorkers:
    """One job, or one element of an array, a task."""

    def check(self, profile: Profile) -> tuple[str, ...]:
        """Make sure that Slurm's commands are here.

        Raises:
            SubmissionError: If one is missing.
        """
        missing = [name for name in _NEEDED if shutil.which(name) is None]
        if missing:
            message = (
                f"no Slurm on this machine: {', '.join(missing)} not found on PATH. Submit from "
                "a login node of the cluster, or use --profile local."
            )
            raise SubmissionError(message)
        if shutil.which("sacct") is None:
            return ("sacct is not here: why a worker was killed can be told for minutes only.",)
        return ()

    def preview(self, job: JobFolder, names: Sequence[str], profile: Profile) -> str:
        """The batch scripts, one a chunk of the array."""
        from submitit.slurm.slurm import _make_sbatch_string

        words = shlex.join(["-u", "-m", "submitit.core._submit", str(job.submitit)])
        command = f"{worker_python()} {words}"
        chunks = chunked(names, array_size(profile))
        texts = []
        for chunk in chunks:
            parameters = sbatch_parameters(job, profile, num_chunks=len(chunks))
            count = len(chunk) if len(chunk) > 1 else None
            texts.append(
                _make_sbatch_string(
                    command=command, folder=job.submitit, map_count=count, **parameters
                )
            )
        return "\n".join(texts)

    def submit(self, job: JobFolder, names: Sequence[str]) -> None:
        """Submit arrays; each is noted before the next is submitted.

        Raises:
            SubmissionError: With what sbatch said, if it refuses.
        """
        from submitit import SlurmExecutor

        chunks = chunked(names, array_size(job.profile))
        executor = SlurmExecutor(job.submitit, max_num_timeout=1_000_000, python=worker_python())
        executor.update_parameters(**sbatch_parameters(job, job.profile, num_chunks=len(chunks)))
        for chunk in chunks:
            with _refusals():
                jobs = executor.submit_array([Worker(str(job.path), (name,)) for name in chunk])
            workers = {started.job_id: [name] for started, name in zip(jobs, chunk, strict=True)}
            job.add_submission(Submission("slurm", socket.gethostname(), workers))

    def look(self, submissions: Sequence[Submission]) -> Mapping[str, Seen]:
        """What Slurm knows of the workers; ``unknown`` where it cannot be asked."""
        workers = [worker for submission in submissions for worker in submission.workers]
        queue = ask_queue(_jobs(workers))
        seen = {worker: _in_queue(state, why) for worker, state, why in queue or ()}
        asked = [worker for worker in workers if worker not in seen]
        if asked:
            past = ask_accounts(_jobs(asked))
            for worker, state in past or ():
                seen.setdefault(worker, _in_accounts(state))
            lost = Seen("unknown") if queue is None and past is None else Seen("gone")
            for worker in workers:
                seen.setdefault(worker, lost)
        return {worker: seen[worker] for worker in workers}

    def cancel(self, workers: Sequence[str]) -> None:
        """Stop them with scancel; ones that are over already are no error."""
        _scancel(workers)

    def withdraw(self, workers: Sequence[str]) -> None:
        """Stop those that are pending: Slurm gives one that runs little time to end."""
        _scancel(workers, "--state=PENDING")


def sbatch_parameters(job: JobFolder, profile: Profile, *, num_chunks: int) -> dict[str, Any]:
    """A profile in the words of Submitit's Slurm executor."""
    afterwards = shlex.join([sys.executable, "-P", "-m", "immo_jobs.afterwards", str(job.path)])
    memory = None if profile.memory_gb is None else f"{int(profile.memory_gb * 1024)}MB"
    return {
        "job_name": f"immo-{job.path.name.removesuffix('.jobs')}",
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "time": profile.time_min or _DEFAULT_TIME_MIN,
        "nodes": profile.nodes,
        "ntasks_per_node": profile.processes,
        "cpus_per_task": profile.cpus,
        "gpus_per_node": profile.gpus or None,
        "mem": memory,
        "signal_delay_s": profile.signal_lead_s,
        # Shared among the chunks, so that all of them together keep to it.
        "array_parallelism": max(1, profile.array_throttle // num_chunks),
        "setup": list(profile.set_up) or None,
        # The task must end as a whole: what is left of it would wait for the rest for ever.
        "srun_args": ["--kill-on-bad-exit=1"],
        # The first line after srun still has srun's exit code in $?.
        "teardown": [f"exec {afterwards} $?"],
        "wckey": None,
        "additional_parameters": {
            "requeue": True,
            "chdir": str(job.path),
            **{name.replace("_", "-"): value for name, value in profile.sbatch.items()},
        },
    }


def array_size(profile: Profile) -> int:
    """Most tasks of one array: the profile's, else the cluster's, else Slurm's default."""
    if profile.max_array_size is not None:
        return profile.max_array_size
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config") or "", re.M)
    # Indices go from 0 to MaxArraySize - 1.
    return max(1, int(found.group(1))) if found else _DEFAULT_ARRAY_SIZE


def chunked(names: Sequence[str], size: int) -> list[list[str]]:
    """The names in order, in as few and as even lists as the size allows.

    Example:
        >>> chunked(["a", "b", "c"], 2)
        [['a', 'b'], ['c']]
    """
    count = -(-len(names) // size)
    share = -(-len(names) // max(1, count))
    return [list(names[first : first + share]) for first in range(0, len(names), max(1, share))]


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn what sbatch says into one message."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        lines = [line.removeprefix("sbatch: error: ").strip() for line in str(error).splitlines()]
        said = " ".join(line for line in lines if line)
        message = (
            f"sbatch refused the job: {said.rstrip('.')}. Put that right in the profile, "
            "or with --with KEY=VALUE."
        )
        raise SubmissionError(message) from error


def _jobs(workers: Sequence[str]) -> list[str]:
    return sorted({worker.partition("_")[0] for worker in workers})


def _scancel(workers: Sequence[str], *options: str) -> None:
    for first in range(0, len(workers), 500):
        ask("scancel", "--quiet", *options, *workers[first : first + 500])


def _in_queue(state: str, why: str) -> Seen:
    if state in _WAITING:
        # After a node failed to start it Slurm holds a job until somebody releases it.
        return Seen("held" if "requeued held" in why.lower() else "waiting", why)
    if state in _WORKING:
        return Seen("working")
    return Seen("gone", state)


def _in_accounts(state: str) -> Seen:
    word = state.split(" ")[0]
    if word in _WAITING:
        return Seen("waiting")
    return Seen("working") if word in _WORKING else Seen("gone", state)
