"""`immo train` run and watched from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.errors import TrainingError
from immo_hpc.train import RunFolder, read_metrics
from immo_hpc.train.checkpoint import list_checkpoints

_EPOCH = re.compile(r"epoch (\d+)/")


@dataclass(frozen=True)
class Watched:
    """A training that has ended its first epoch since it was started.

    Attributes:
        process: The command.
        began: When it was started, by the monotonic clock.
        stepped: When its first step began.
    """

    process: subprocess.Popen[str]
    began: float
    stepped: float

    @property
    def start_up_s(self) -> float:
        """From the command to its first step, seconds."""
        return self.stepped - self.began


@contextmanager
def training(shards: Path, run: RunFolder, *words: str, keys: Sequence[str]) -> Iterator[Watched]:
    """Start a training and wait for its first epoch; it is killed with the block.

    Args:
        shards: Folder of shards.
        run: Run folder.
        *words: Further words of the command line.
        keys: Assignments, as for ``--set``.

    Raises:
        TrainingError: If it ends before.
    """
    command = [sys.executable, "-m", "immo_hpc.cli", "train", str(shards), str(run.path), *words]
    command += [word for key in keys for word in ("--set", key)]
    began = time.monotonic()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            said = _first_epoch(process)
            number, now = int(said.group(1)), time.monotonic()
            seconds = next(r.seconds for r in read_metrics(run.metrics) if r.epoch == number - 1)
            yield Watched(process, began, now - seconds)
        finally:
            process.kill()


def finish(watched: Watched) -> None:
    """Wait for the end.

    Raises:
        TrainingError: If it fails.
    """
    _, said = watched.process.communicate()
    if watched.process.returncode:
        message = f"the training that was to be measured failed: {said.strip()[-500:]}"
        raise TrainingError(message)


def kill(watched: Watched, run: RunFolder, after_s: float) -> float:
    """Kill a training that long after its first step; seconds since its last checkpoint.

    A training of one process only.
    """
    assert watched.process.stderr is not None
    while time.monotonic() - watched.stepped < after_s:
        watched.process.stderr.readline()  # One line an epoch, which it would wait to get rid of.
    os.kill(watched.process.pid, signal.SIGKILL)
    killed = time.time()
    watched.process.wait()
    written = [path.stat().st_mtime for path in list_checkpoints(run.checkpoints)]
    return min(killed - max(written), after_s) if written else after_s


def _first_epoch(process: subprocess.Popen[str]) -> re.Match[str]:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if found := _EPOCH.match(line):
            return found
        said.append(line)
    message = f"the training that was to be measured failed: {''.join(said).strip()[-500:]}"
    raise TrainingError(message)
