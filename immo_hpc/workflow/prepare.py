"""From tables to shards, and cohorts made up for trying things."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from immo_hpc._version import __version__
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.read import read_cohorts
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.data.summary import CohortSummary
from immo_hpc.data.times import TimeUnit
from immo_hpc.data.validate import validate_cohort
from immo_hpc.data.write import write_cohort
from immo_hpc.files import new_folder, require_absent, write_text
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.preparing.outcome import describe_shards
from immo_hpc.workflow.preparing.place import describe_inputs, prepare_place
from immo_hpc.workflow.preparing.steps import ShardFormat, fit_cohort
from immo_hpc.workflow.preparing.streamed import StreamedJob, prepare_streamed
from immo_hpc.workflow.reading import are_small, opened_cohort


@dataclass(frozen=True)
class CohortOptions:
    """What the user says about a cohort beside its own description; None = as described."""

    layers: Sequence[str] | None = None
    label: str | None = None
    subject: str | None = None
    positive: str | None = None
    time: str | None = None
    time_unit: TimeUnit | None = None

    def read(self, path: Path) -> Cohort:
        """Read the cohort at ``path`` with these options."""
        return self.read_all([path])

    def read_all(self, paths: Sequence[Path], *, scratch: Path | None = None) -> Cohort:
        """Read the cohort that stands in several places; into the folder ``scratch`` if given."""
        return read_cohorts(
            paths,
            layers=self.layers,
            label=self.label,
            subject=self.subject,
            positive=self.positive,
            time=self.time,
            time_unit=self.time_unit,
            scratch=scratch,
        )


def simulate(out: Path, *, num_subjects: int, visits_mean: float, seed: int) -> Outcome:
    """Write a simulated cohort into the new folder ``out``.

    Raises:
        OutputError: If ``out`` exists and is not empty, or cannot be written.
    """
    require_absent(out)
    config = SimulationConfig(num_subjects=num_subjects, visits_mean=visits_mean, seed=seed)
    cohort = simulate_cohort(config).cohort
    write_cohort(cohort, out)
    layers = {name: len(layer.rows) for name, layer in cohort.layers.items()}
    counted = ", ".join(f"{name} {rows}" for name, rows in layers.items())
    return Outcome(
        {"cohort": str(out), "samples": len(cohort.samples), "layers": layers},
        f"{out}: {len(cohort.samples)} samples of {cohort.subjects.nunique()} people ({counted})",
    )


def prepare(
    cohorts: Sequence[Path],
    shards: Path,
    config: ImmoConfig,
    options: CohortOptions,
    *,
    stored: ShardFormat | None = None,
    workers: int = 1,
    work: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Read a cohort, split it, fit the preparation on its training samples, write shards.

    Cohorts larger than memory are prepared over files (`immo_hpc.workflow.preparing`); the
    same shards come out of memory and of any number of processes.

    Args:
        cohorts: Folders or files that together are the cohort.
        shards: New folder for the shards.
        config: Seed, split and preparation.
        options: What the user says about the cohort.
        stored: How shards are stored; as `ShardFormat` has it if None.
        workers: Processes to use, this one among them.
        work: Folder of what is made on the way, which processes of the same call share;
            one beside ``shards`` if None.
        say: Told what is done, a line at a time.

    Raises:
        CohortError: If the cohort cannot be used as it is.
        OutputError: If ``shards`` exists and is not empty, or cannot be written.
    """
    began = time.monotonic()
    stored = stored or ShardFormat()
    place = prepare_place(shards, work)
    lost: tuple[str, ...] = ()
    inputs = describe_inputs(cohorts)
    if workers == 1 and work is None and are_small(cohorts) and not place.home.exists():
        require_absent(shards)
        _prepare(options.read_all(cohorts), shards, config, _source(cohorts), stored)
    else:
        job = StreamedJob(
            place,
            _decisive(inputs, shards, config, options, stored),
            lambda scratch: options.read_all(cohorts, scratch=scratch),
            config,
            _source(cohorts),
            stored,
            say,
        )
        lost = prepare_streamed(
            job, lambda: _worker_arguments(cohorts, job, options, stored), workers
        )
    outcome = describe_shards(shards)
    seconds = round(time.monotonic() - began, 2)
    used = "1 process" if workers == 1 else f"{workers} processes"
    return Outcome(
        {**outcome.values, "workers": workers, "seconds": seconds},
        f"{outcome.summary}\n  {seconds:.1f} s, {used}",
        (*outcome.notices, *lost),
    )


def validate(cohort: Path, options: CohortOptions, work: Path | None = None) -> CohortSummary:
    """Look a cohort of any size over.

    Args:
        cohort: Folder or file.
        options: What the user says about it.
        work: Where a hidden folder for a cohort larger than memory may be made, and is
            removed again; the current folder if None.

    Raises:
        CohortError: If the cohort cannot be read.
        BusyError, OutputError: As `opened_cohort`.
    """
    beside = (work or Path()) / cohort.resolve().name
    with opened_cohort(
        cohort, beside, lambda scratch: options.read_all([cohort], scratch=scratch)
    ) as opened:
        return validate_cohort(opened)


def prepare_cohort(cohort: Cohort, shards: Path, config: ImmoConfig, *, source: str) -> Outcome:
    """As `prepare`, for a cohort that was read already."""
    _prepare(cohort, shards, config, source, ShardFormat())
    return describe_shards(shards)


def _prepare(
    cohort: Cohort, shards: Path, config: ImmoConfig, source: str, stored: ShardFormat
) -> None:
    fitted = fit_cohort(cohort, config, source=source, shards=stored)
    with new_folder(shards) as folder:
        written = [fitted.write_shard(name, folder) for name in fitted.plan.names]
        fitted.write_manifest(written, folder)


def _source(cohorts: Sequence[Path]) -> str:
    return " + ".join(path.name for path in cohorts)


def _decisive(
    files: Sequence[Any],
    shards: Path,
    config: ImmoConfig,
    options: CohortOptions,
    stored: ShardFormat,
) -> dict[str, Any]:
    """All that decides what comes out, by its name for the user, as JSON values."""
    versions = {name: metadata.version(name) for name in ("numpy", "pandas", "pyarrow")}
    values = {
        "input files": files,
        "output": str(shards.absolute()),
        "configuration": config.model_dump(mode="json", include={"seed", "split", "preparation"}),
        "cohort options": asdict(options),
        "storage": asdict(stored),
        "versions": {"immo-hpc": __version__, **versions},
    }
    # As they will be read again, so that they can be compared.
    return dict(json.loads(json.dumps(values)))


def _worker_arguments(
    cohorts: Sequence[Path], job: StreamedJob, options: CohortOptions, stored: ShardFormat
) -> list[str]:
    """Arguments of ``immo`` for another process of the same job."""
    place = job.place
    settings = place.work / "config.yaml"
    write_text(settings, yaml.safe_dump(job.config.model_dump(mode="json"), sort_keys=False))
    said = {
        "layers": None if options.layers is None else ",".join(options.layers),
        "label": options.label,
        "subject": options.subject,
        "positive": options.positive,
        "time": options.time,
        "time-unit": options.time_unit,
        "work": str(place.work),
        "config": str(settings),
        "dtype": stored.dtype,
        "rows-per-shard": str(stored.rows_per_shard),
    }
    named = [f"--{name}={value}" for name, value in said.items() if value is not None]
    return ["prepare", *named, *(str(path.absolute()) for path in [*cohorts, place.output])]
