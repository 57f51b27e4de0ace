"""Training by one, two, more processes: rate beside the ideal, start-up, checkpoints, lost work.

Everything is measured from outside, on ``immo train`` and ``immo submit`` as a user runs them.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from immo_hpc.bench import processes_render
from immo_hpc.bench.submitted import SubmittedStart, submitted_start
from immo_hpc.bench.trainings import finish, kill, training
from immo_hpc.data.stream import open_shards
from immo_hpc.files import write_text
from immo_hpc.train import RunFolder, read_metrics
from immo_hpc.train.checkpoint import list_checkpoints, read_checkpoint, write_checkpoint
from immo_hpc.train.device import resolve_device
from immo_hpc.train.environment import describe_environment, package_versions, source_commit

# Epochs before the rate is taken: code is compiled, memory is got.
_WARM_UP = 1
_REPEATS = 3


@dataclass(frozen=True)
class SharedRate:
    """A training by some processes.

    Attributes:
        processes: How many.
        samples_per_s: Training samples a second, median over epochs, held-out error included.
        ideal: The rate of one process times their number.
        start_up_s: From the start of the command to the first step.
        waiting: Share of the time of the epochs in which the first process waited for a batch.
        loss: Loss of the last epoch, which the number of processes must not change.
    """

    processes: int
    samples_per_s: float
    ideal: float
    start_up_s: float
    waiting: float
    loss: float


@dataclass(frozen=True)
class ProcessesBench:
    """What `bench_processes` measured.

    Attributes:
        rates: One a number of processes.
        submitted: One a profile, of a training by one process of what the profile gives.
        samples: Samples of the training side.
        features: Features of all layers.
        batch_size: Samples a step, over all processes.
        cores: Cores that all processes share.
        checkpoint_mb: Size of a checkpoint, 10^6 bytes.
        checkpoint_s: Time to write one.
        restore_s: Time to read one back.
        lost_s: From the last checkpoint to a kill at some moment, with ``checkpoint_min``.
        lost_share: The same as a share of the time from the first step to the kill.
        checkpoint_min: Most minutes between checkpoints in that training.
        resume_s: From the start of the resuming command to its first step.
        environment: Machine.
        versions: Package versions.
        commit: Commit of the source, if it is a checkout.
        date: UTC, ISO 8601.
    """

    rates: tuple[SharedRate, ...]
    submitted: tuple[SubmittedStart, ...]
    samples: int
    features: int
    batch_size: int
    cores: int
    checkpoint_mb: float
    checkpoint_s: float
    restore_s: float
    lost_s: float
    lost_share: float
    checkpoint_min: float
    resume_s: float
    environment: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    date: str

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)

    def text(self) -> str:
        """The result as a small table."""
        return processes_render.table(self.to_dict())


def bench_processes(
    shards: Path,
    processes: Sequence[int],
    *,
    epochs: int,
    batch_size: int,
    profiles: Sequence[str] = (),
    folder: Path | None = None,
    kill_after_s: float = 20.0,
    checkpoint_min: float = 0.1,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ProcessesBench:
    """Train on the shards with each number of processes, and kill and resume one training.

    Args:
        shards: Folder of shards.
        processes: Numbers of processes.
        epochs: Epochs of each training.
        batch_size: Samples a step, over all processes.
        profiles: Profiles to submit a training with.
        folder: Where runs and jobs go; the system's temporary folder if None.
        kill_after_s: Time from the first step to the kill.
        checkpoint_min: Most minutes between checkpoints in the training that is killed.
        out: JSON file to write the result to.
        say: Told what is measured next.

    Raises:
        TrainingError: If a training fails.
        OutputError: If ``out`` cannot be written.
    """
    index = open_shards(shards)
    # What is fitted after the training is no part of it.
    keys = [f"train.batch_size={batch_size}", "train.patience=1000000", "train.companion=false"]
    samples = len(index.samples if index.split is None else index.indices("train"))
    rates: list[SharedRate] = []
    with tempfile.TemporaryDirectory(prefix="immo-bench-", dir=folder) as name:
        place = Path(name)
        for number in processes:
            say(f"training by {number} processes")
            run = RunFolder(place / f"run-{number}")
            words, asked = ("--processes", str(number)), [*keys, f"train.epochs={epochs}"]
            with training(shards, run, *words, keys=asked) as watched:
                finish(watched)
            rates.append(_rate(run, samples, number, watched.start_up_s, rates))
        checkpoint = list_checkpoints(run.checkpoints)[-1]
        content = read_checkpoint(checkpoint)
        say("a training that is killed and resumed")
        killed = RunFolder(place / "killed")
        keys += ["train.epochs=1000000", "train.checkpoint_epochs=1000000"]
        keys += [f"train.checkpoint_min={checkpoint_min}"]
        with training(shards, killed, keys=keys) as watched:
            lost_s = kill(watched, killed, kill_after_s)
        with training(shards, killed, "--resume", keys=keys) as watched:
            resume_s = watched.start_up_s
        submitted = []
        for profile in profiles:
            say(f"a training submitted with {profile}")
            submitted.append(submitted_start(shards, place, profile, keys))
        result = ProcessesBench(
            rates=tuple(rates),
            submitted=tuple(submitted),
            samples=samples,
            features=sum(len(layer.features) for layer in index.layers.values()),
            batch_size=batch_size,
            cores=len(os.sched_getaffinity(0)),
            checkpoint_mb=checkpoint.stat().st_size / 1e6,
            checkpoint_s=_median_s(lambda: write_checkpoint(place, content)),
            restore_s=_median_s(lambda: read_checkpoint(checkpoint)),
            lost_s=lost_s,
            lost_share=lost_s / kill_after_s,
            checkpoint_min=checkpoint_min,
            resume_s=resume_s,
            environment=describe_environment(resolve_device("auto")),
            versions=package_versions(),
            commit=source_commit(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    if out is not None:
        write_text(out, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def _rate(
    run: RunFolder, samples: int, number: int, start_up_s: float, before: Sequence[SharedRate]
) -> SharedRate:
    records = read_metrics(run.metrics)
    timed = records[_WARM_UP:] or records
    rate = samples / statistics.median(record.seconds for record in timed)
    waiting = sum(record.waiting_s for record in timed) / sum(record.seconds for record in timed)
    # Of the fewest processes, where one alone is not measured.
    alone = before[0].samples_per_s / before[0].processes if before else rate / number
    return SharedRate(number, rate, alone * number, start_up_s, waiting, records[-1].loss)


def _median_s(do: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
