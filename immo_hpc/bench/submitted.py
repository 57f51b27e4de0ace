"""From `immo submit` to the first step of a training: on the host, in a container, in a queue.

Everything is measured from outside, by the command line as a user types it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immo_hpc.errors import TrainingError
from immo_hpc.train import RunFolder, read_metrics

_IMMO = (sys.executable, "-m", "immo_hpc.cli")
_POLL_S = 0.02
# How often the state is asked for, which costs a process of its own.
_LOOK_S = 10.0


@dataclass(frozen=True)
class SubmittedStart:
    """A training submitted with one profile.

    Attributes:
        profile: Name of the profile, without folder and ending.
        submit_s: Time of `immo submit`.
        first_step_s: From the start of `immo submit` to the training's first step.
    """

    profile: str
    submit_s: float
    first_step_s: float


def submitted_start(
    shards: Path, folder: Path, profile: str, keys: Sequence[str]
) -> SubmittedStart:
    """Submit a training, wait for its first epoch, and cancel it.

    Args:
        shards: Folder of shards.
        folder: Folder for run and job, which whatever runs the job can see.
        profile: Profile, as for `immo submit --profile`.
        keys: Assignments, as for ``--set``.

    Raises:
        TrainingError: If the job is refused or fails.
    """
    name = Path(profile).stem
    run, job = RunFolder(folder / f"submitted-{name}"), folder / f"submitted-{name}.jobs"
    words = ["submit", "train", str(shards), str(run.path), "--profile", profile]
    words += [word for key in keys for word in ("--set", key)]
    began = time.time()
    _immo(*words, "--jobs", str(job))
    handed_over = time.time()
    try:
        stepped = _first_step(run, job)
    finally:
        _immo("cancel", str(job))
        while _row(job)["is_live"]:
            time.sleep(1.0)
    return SubmittedStart(name, handed_over - began, stepped - began)


def _first_step(run: RunFolder, job: Path) -> float:
    """When the first step began, by the clock; a failure is noticed within some seconds."""
    look_at = time.monotonic() + _LOOK_S
    while not (records := read_metrics(run.metrics)):
        if time.monotonic() > look_at:
            row = _row(job)
            if not row["is_live"]:
                message = f"the job that was to be measured ended: {row['state']}, {row['reason']}"
                raise TrainingError(message)
            look_at = time.monotonic() + _LOOK_S
        time.sleep(_POLL_S)
    return run.metrics.stat().st_mtime - sum(record.seconds for record in records)


def _row(job: Path) -> dict[str, Any]:
    (row,) = json.loads(_immo("status", str(job), "--json"))["tasks"]
    return dict(row)


def _immo(*words: str) -> str:
    done = subprocess.run([*_IMMO, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"what was to be measured failed: {done.stderr.strip()[-500:]}"
        raise TrainingError(message)
    return done.stdout
