"""Measured speed: training on a cohort, the kernels, the loader, preparing tables."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from immo_hpc.bench.kernels import bench_kernels as time_kernels
from immo_hpc.bench.loader import bench_loader as measure_loader
from immo_hpc.bench.prepare import FEATURE_SIZES, LARGE_SIZES, QUICK_SIZES, SAMPLE_SIZES
from immo_hpc.bench.prepare import bench_prepare as time_preparing
from immo_hpc.bench.processes import bench_processes as time_processes
from immo_hpc.bench.train import bench_train as time_training
from immo_hpc.config import ImmoConfig
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.errors import UsageError
from immo_hpc.files import make_folder
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.prepare import CohortOptions, prepare_cohort
from immo_hpc.workflow.use import require_free

# The size of IBDMDB: people, visits, and features that its preparation keeps.
_LIKE_IBDMDB = SimulationConfig(
    num_subjects=130, visits_mean=12.8, num_mg=180, num_mt=186, num_mb=544
)

_QUICK_EPOCHS = 3


def bench_train(
    cohort_path: Path | None, *, epochs: int, repeats: int, out: Path | None = None
) -> Outcome:
    """Time training beside a plain loop; see `immo_hpc.bench.train`.

    Args:
        cohort_path: Cohort to train on; a simulated one of IBDMDB's size if None.
        epochs: Epochs of each timed training.
        repeats: Timed trainings of each loop.
        out: JSON file to write; one that exists is replaced.

    Raises:
        CohortError: If the cohort cannot be used.
        OutputError: If ``out`` cannot be written.
    """
    _make_ready(out)
    cohort = (
        simulate_cohort(_LIKE_IBDMDB).cohort
        if cohort_path is None
        else CohortOptions().read(cohort_path)
    )
    with tempfile.TemporaryDirectory(prefix="immo-bench-") as folder:
        shards = Path(folder) / "shards"
        prepare_cohort(cohort, shards, ImmoConfig(), source="bench")
        measured = time_training(shards, epochs=epochs, repeats=repeats, out=out)
    return Outcome(measured.to_dict(), measured.text())


def bench_processes(
    cohort_path: Path | None,
    *,
    processes: str,
    epochs: int,
    quick: bool,
    profiles: Sequence[str] = (),
    folder: Path | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Time training by several processes; see `immo_hpc.bench.processes`.

    Args:
        cohort_path: Cohort to train on; if None a simulated one of IBDMDB's size, or a tiny one.
        processes: Numbers of processes, such as ``1,2,4``.
        epochs: Epochs of each training.
        quick: Only to see that it works.
        profiles: Profiles to submit a training with.
        folder: Where runs and jobs go; the system's temporary folder if None.
        out: JSON file to write; one that exists is replaced.
        say: Told each case before it is timed.

    Raises:
        UsageError: If ``processes`` are no numbers.
        CohortError: If the cohort cannot be used.
        TrainingError: If a training fails.
        OutputError: If ``out`` cannot be written.
    """
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", processes):
        message = f"--processes {processes}: expected numbers above 0, such as 1,2,4."
        raise UsageError(message)
    _make_ready(out, folder)
    simulated = SimulationConfig() if quick else _LIKE_IBDMDB
    cohort = (
        simulate_cohort(simulated).cohort
        if cohort_path is None
        else CohortOptions().read(cohort_path)
    )
    if folder is not None:
        folder = folder.absolute()
    with tempfile.TemporaryDirectory(prefix="immo-bench-", dir=folder) as place:
        shards = Path(place) / "shards"
        prepare_cohort(cohort, shards, ImmoConfig(), source="bench")
        measured = time_processes(
            shards,
            [int(number) for number in processes.split(",")],
            epochs=min(epochs, _QUICK_EPOCHS) if quick else epochs,
            batch_size=64,
            profiles=profiles,
            folder=folder,
            kill_after_s=2.0 if quick else 20.0,
            checkpoint_min=0.01 if quick else 0.1,
            out=out,
            say=say,
        )
    return Outcome(measured.to_dict(), measured.text())


def bench_kernels(
    *,
    quick: bool,
    with_compile: bool,
    rounds: int,
    device: str,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Time the kernels; see `immo_hpc.bench.kernels`.

    Args:
        quick: Only the cases that the claims are about.
        with_compile: Time ``torch.compile`` too.
        rounds: Timings of each contender.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        out: JSON file to write; one that exists is replaced.
        say: Told each case before it is timed.

    Raises:
        ConfigError: If the device is not there.
        OutputError: If ``out`` cannot be written.
    """
    _make_ready(out)
    measured = time_kernels(
        quick=quick, with_compile=with_compile, rounds=rounds, device=device, out=out, say=say
    )
    refused = [note for row in measured.rows for note in row.notes if note.startswith("not timed")]
    return Outcome(measured.to_dict(), measured.text(), tuple(refused))


def bench_prepare(
    *,
    quick: bool,
    repeats: int,
    workers: int,
    folder: Path | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Time preparing beside pandas; see `immo_hpc.bench.prepare`.

    Args:
        quick: Tiny tables, to see that it works.
        repeats: Timed runs of each.
        workers: Processes to prepare with.
        folder: Folder for tables and shards; the system's if None.
        out: JSON file to write; one that exists is replaced.
        say: Told each case before it is timed.

    Raises:
        ImmoError: If a contender fails.
        OutputError: If ``out`` cannot be written.
    """
    _make_ready(out, folder)
    measured = time_preparing(
        sizes=QUICK_SIZES if quick else (*SAMPLE_SIZES, *FEATURE_SIZES),
        large=() if quick else LARGE_SIZES,
        repeats=repeats,
        workers=workers,
        folder=folder,
        out=out,
        say=say,
    )
    return Outcome(measured.to_dict(), measured.text())


def bench_loader(
    *,
    gb: float,
    memory_gb: float,
    batch_size: int,
    repeats: int,
    seconds: float,
    quick: bool,
    folder: Path | None = None,
    keep: bool = False,
    beside: Sequence[str] | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Measure the loader beside others; see `immo_hpc.bench.loader` for the arguments.

    Raises:
        ImmoError: If the loader fails.
        OutputError: If there is not enough space, or ``out`` cannot be written.
    """
    _make_ready(out, folder)
    measured = measure_loader(
        gb=gb,
        memory_gb=memory_gb,
        batch_size=batch_size,
        repeats=repeats,
        seconds=seconds,
        quick=quick,
        folder=folder,
        keep=keep,
        beside=beside,
        out=out,
        say=say,
    )
    refused = {note for row in measured.rows for note in row.notes}
    return Outcome(measured.to_dict(), measured.text(), (*measured.notes, *sorted(refused)))


def _make_ready(out: Path | None, folder: Path | None = None) -> None:
    """Make the folders that a result and a bench's files go to, before anything is timed."""
    if out is not None:
        require_free(out, force=True)
        make_folder(out.parent)
    if folder is not None:
        make_folder(folder)
