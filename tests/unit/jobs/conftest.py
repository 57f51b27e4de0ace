"""Commands that are replaced, and jobs made by hand."""

import sys

import pytest

from immo_jobs.folder import create_job
from immo_jobs.profile import Profile
from immo_jobs.task import Task


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Give a function that puts a command on a PATH of its own; calls are noted in calls.txt."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    calls = folder / "calls.txt"

    def replace(name, body="exit 0"):
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {calls}\n{body}\n')
        path.chmod(0o755)
        return path

    replace.calls = lambda: calls.read_text().splitlines() if calls.exists() else []
    return replace


@pytest.fixture
def slurm(commands):
    """All of Slurm's commands, doing nothing; sbatch accepts everything as job 4711, 4712, ..."""
    for name in ("srun", "squeue", "scancel", "scontrol", "sacct"):
        commands(name)
    commands(
        "sbatch",
        'number=$(/usr/bin/grep -c ^sbatch "${0%/*}/calls.txt")\n'
        'echo "Submitted batch job $((4710 + number))"',
    )
    return commands


@pytest.fixture
def new_job(tmp_path):
    """Make a job folder whose tasks run the given words of a shell."""

    def make(*scripts, name="work", **profile):
        tasks = []
        for number, script in enumerate(scripts):
            out = tmp_path / name / f"t{number}"
            (out / "checkpoints").mkdir(parents=True)
            command = (sys.executable, "-S", "-c", script, str(out))
            tasks.append(Task(f"t{number}", command, str(out), str(out / "checkpoints")))
        settings = Profile(**{"executor": "inprocess", **profile})
        return create_job(tmp_path / f"{name}.jobs", "train", tasks, settings)

    return make
