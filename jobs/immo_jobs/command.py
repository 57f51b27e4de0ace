"""From a task's command to what is really started: in a container, or in the plain environment."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from immo_hpc.errors import ConfigError
from immo_jobs.profile import Profile
from immo_jobs.task import Task

# The host's Python must not reach into the container.
_PYTHON_OF_HOST = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX")


def started_command(task: Task, profile: Profile) -> list[str]:
    """The words that are started on the job's host.

    Raises:
        ConfigError: If the program is not there, or a folder cannot be named to Apptainer.
    """
    if profile.container is None:
        return [plain_program(task.command[0]), *task.command[1:]]
    words = [container_program(), "exec", "--contain", "--no-home", "--pwd", "/"]
    if profile.container.nv:
        words.append("--nv")
    for bind in (*_binds(task.folders), *profile.container.binds):
        words += ["--bind", bind]
    return [*words, str(profile.container.image.absolute()), *task.command]


def plain_program(name: str) -> str:
    """Full path of a program: the one beside this Python, else on PATH.

    Raises:
        ConfigError: If there is neither.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        message = (
            f"the program '{name}' is neither beside {sys.executable} nor on PATH. Install "
            "immo-hpc in the environment that submits, or name an image in the profile."
        )
        raise ConfigError(message)
    return found


def container_program() -> str:
    """Full path of apptainer, or of singularity where that is its name.

    Raises:
        ConfigError: If there is neither.
    """
    found = shutil.which("apptainer") or shutil.which("singularity")
    if found is None:
        message = (
            "the profile names a container image, but neither apptainer nor singularity is on "
            "PATH. Load it (set_up: ['module load apptainer']), or leave the container out."
        )
        raise ConfigError(message)
    return found


def worker_python() -> str:
    """What Submitit starts a worker with, in place of Python alone."""
    # -P: whoever may write into the job's folder shall not get in before the modules meant.
    return shlex.join([sys.executable, "-P", "-u", "-m", "immo_jobs.begin"])


def environment_of(profile: Profile, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of the command: the host's, then the profile's over it.

    Example:
        >>> environment_of(Profile(executor="local", cpus=2), {"A": "1"})
        {'OMP_NUM_THREADS': '2', 'A': '1'}
    """
    values = {"OMP_NUM_THREADS": str(profile.cpus), **inherited, **profile.environment}
    if profile.container is not None:
        for name in _PYTHON_OF_HOST:
            values.pop(name, None)
    return values


def ranks_of(profile: Profile, inherited: Mapping[str, str]) -> dict[str, str]:
    """What torch.distributed wants to know, where a task has several processes.

    The first node of the job is where they meet; the port follows from the job's number, so
    that two jobs on one node do not meet each other.
    """
    if profile.num_processes == 1:
        return {}
    from submitit.slurm.slurm import SlurmJobEnvironment

    job = SlurmJobEnvironment()
    number = int(inherited["SLURM_JOB_ID"]) + int(inherited.get("SLURM_RESTART_COUNT") or 0)
    return {
        "MASTER_ADDR": job.hostnames[0],
        "MASTER_PORT": str(20000 + number % 20000),
        "RANK": str(job.global_rank),
        "LOCAL_RANK": str(job.local_rank),
        "WORLD_SIZE": str(job.num_tasks),
        "LOCAL_WORLD_SIZE": str(profile.processes),
    }


def rank_here() -> int:
    """Number of this process among those of its task."""
    return int(os.environ.get("SLURM_PROCID") or 0)


def _binds(folders: Iterable[str]) -> list[str]:
    unique = list(dict.fromkeys(folders))
    for folder in unique:
        if "," in folder or ":" in folder:
            message = (
                f"{folder}: Apptainer cannot show a folder whose path holds ':' or ','. "
                "Rename it, or use a link to it without these."
            )
            raise ConfigError(message)
    return unique
