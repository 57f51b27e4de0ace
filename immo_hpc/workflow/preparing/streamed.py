"""Preparing by any number of processes that share a work folder, in bounded memory.

Every process runs `prepare_streamed` with the same arguments and comes by the same steps to
the same shards: tables into files, statistics of chunks, shards. Each step is a number of
files of which every process makes those that no other makes. So it matters for nothing but
the time how many there are, when they come and go, and whether they were killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.manifest import Pattern, ShardFile
from immo_hpc.data.preparation.rows import in_folder
from immo_hpc.data.shards.plan import WrittenShard
from immo_hpc.errors import CohortError, ConfigError, ImmoError, ShardError
from immo_hpc.files import require_absent
from immo_hpc.work import WorkFolder
from immo_hpc.workflow.preparing.place import PreparePlace
from immo_hpc.workflow.preparing.steps import FittedCohort, ShardFormat, fit_cohort
from immo_hpc.workflow.preparing.workers import Workers, further_workers


class _Finished(Exception):
    """Another process has finished the output."""


@dataclass(frozen=True)
class StreamedJob:
    """One preparation, the same for all its processes.

    Attributes:
        place: Its folders.
        inputs: All that decides what comes out, as JSON values.
        read: Reads the cohort; gets a folder for matrices larger than memory.
        config: The configuration.
        source: Where the cohort came from, in words.
        shards: How shards are stored.
        say: Told what is done, a line at a time.
    """

    place: PreparePlace
    inputs: Mapping[str, Any]
    read: Callable[[Path], Cohort]
    config: ImmoConfig
    source: str
    shards: ShardFormat
    say: Callable[[str], None]


def prepare_streamed(
    job: StreamedJob, worker_arguments: Callable[[], Sequence[str]], workers: int
) -> tuple[str, ...]:
    """Do what is left of a job, and give the output its name if no other process does.

    Args:
        job: What to do.
        worker_arguments: Gives the arguments of ``immo`` for a further process of the job.
        workers: Processes, this one among them.

    Returns:
        Sentences about processes that were killed.

    Raises:
        CohortError: If the cohort cannot be read, split or prepared.
        ShardError: If it cannot be stored.
        OutputError: If the output exists, the folders hold other work, or cannot be
            written; finished pieces stay, and the same command goes on with them.
        ImmoError: If a further process failed.
    """
    place = job.place
    is_begun = place.was_for(job.inputs)

    def is_done() -> bool:
        return place.is_finished and (is_begun or place.was_for(job.inputs))

    lost: list[str] = []
    try:
        if not is_done():
            require_absent(place.output)
            place.begin(job.inputs)
            is_begun = True
            with further_workers(worker_arguments() if workers > 1 else (), workers - 1) as team:
                lost = team.lost
                _work(job, team)
    except _Finished:
        pass
    except (OSError, ImmoError) as error:
        # Who finishes removes the folders, also under a process that begins or is not done yet;
        # what that one then meets is no fault of inputs that made an output.
        if not is_done():
            is_of_inputs = isinstance(error, (CohortError, ConfigError, ShardError))
            # They will be changed, so what was made of them is of no use.
            if is_of_inputs and is_begun and place.work == place.home:
                place.clear()
            raise
    place.clear()
    return tuple(lost)


def _work(job: StreamedJob, team: Workers) -> None:
    place = job.place

    def before() -> None:
        team.check()
        if place.is_finished:
            raise _Finished

    before()
    cohort = job.read(place.work / "tables")
    job.say(f"{len(cohort.samples)} samples read; fitting the preparation")
    reduction = in_folder(WorkFolder(place.work / "statistics"), before=before)
    fitted = fit_cohort(
        cohort, job.config, source=job.source, shards=job.shards, reduction=reduction
    )
    names = fitted.plan.names
    job.say(f"writing {len(names)} shards")
    written = _write(fitted, place, before)
    place.end(names, lambda folder: fitted.write_manifest(written, folder))


def _write(
    fitted: FittedCohort, place: PreparePlace, before: Callable[[], None]
) -> list[WrittenShard]:
    """Write all shards with the others; what is known of each stands in a file of its own."""
    work = WorkFolder(place.work / "written")

    def make(name: str, temporary: Path) -> None:
        before()
        shard = fitted.write_shard(name.removesuffix(".json"), place.shards)
        temporary.write_text(json.dumps(asdict(shard)), encoding="utf-8")

    names = [f"{name}.json" for name in fitted.plan.names]
    work.do_all(names, make)
    return [_read(work.path / name) for name in names]


def _read(path: Path) -> WrittenShard:
    content = json.loads(path.read_text(encoding="utf-8"))
    patterns = (Pattern(tuple(entry["layers"]), entry["samples"]) for entry in content["patterns"])
    return WrittenShard(ShardFile(**content["file"]), tuple(patterns))
