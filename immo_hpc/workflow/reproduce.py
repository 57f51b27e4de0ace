"""The paper's tables and figures beside ours, from a cohort's tables to a report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from immo_hpc.analysis.reproduce.page import render_reproduction
from immo_hpc.analysis.reproduce.published import published
from immo_hpc.analysis.reproduce.results import Reproduction
from immo_hpc.analysis.reproduce.verdicts import headline
from immo_hpc.config import load_config
from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import new_folder, require_absent, write_text
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.prepare import CohortOptions
from immo_hpc.workflow.reproducing.gather import put_together
from immo_hpc.workflow.reproducing.job import INPUTS, ReproduceJob, read_json
from immo_hpc.workflow.reproducing.search import read_study
from immo_hpc.workflow.reproducing.workers import make_parts

RESULT = "reproduction.json"
_TABLES = ("subsets", "search", "masks", "curves", "auc", "gains", "layers", "features")
# A try-out: everything runs, and nothing is worth quoting.
_QUICK = ("train.epochs=5", "model.latent_dim=16", "model.encoder_dims=[32]")


@dataclass(frozen=True)
class Asked:
    """What the user wants reproduced.

    Attributes:
        splits: Splits by person; the splits by sample are as many, at most two.
        trials: Rounds of the search; None: as many as fit the time.
        study: A study of `immo tune` instead of a search.
        workers: Processes, one thread each; None: as many as processors.
        is_quick: A try-out.
        seed: Seed of the first split.
    """

    splits: int = 5
    trials: int | None = None
    study: Path | None = None
    workers: int | None = None
    is_quick: bool = False
    seed: int = 0


def reproduce(
    which: str,
    cohort: Path,
    out: Path,
    options: CohortOptions,
    asked: Asked,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Reproduce what the paper reports on one of its cohorts.

    Parts are kept beside ``out`` until all are there: a command that was killed goes on where
    it was when it is repeated. One that is finished says again what it found.

    Args:
        which: 'ibdmdb' or 'ipop'.
        cohort: Place of the tables.
        out: New folder for the page, JSON and tables.
        options: What the user says about the cohort.
        asked: What to do, and with how much.
        say: Told what is done, a line at a time.

    Raises:
        UsageError: If there is no such cohort in the paper.
        CohortError: If the tables are not those of the cohort, or the study is of others.
        OutputError: If ``out`` holds something else, or the parts are those of other inputs.
        ImmoError: If a process fails or is killed; what is made stays.
    """
    job = _job(which, cohort, out, options, asked)
    if (found := _finished(job)) is not None:
        job.clear()
        return _outcome(found, out)
    read = job.read()
    if asked.study is not None:
        read_study(asked.study, job.facts.layers)
    kept = job.begin()
    names = job.part_names()
    workers = asked.workers or len(os.sched_getaffinity(0))
    say(f"{which}: {len(names)} parts, {kept} of them there, by {workers} processes")
    began, load = time.monotonic(), os.getloadavg()[0]
    make_parts(job, workers, say)
    found = put_together(job, read)
    made = _made(job, asked, workers, time.monotonic() - began, load, kept)
    found = Reproduction(**{**vars(found), "made": made})
    _save(found, job)
    job.clear()
    return _outcome(found, out)


def _job(which: str, cohort: Path, out: Path, options: CohortOptions, asked: Asked) -> ReproduceJob:
    facts = published(which)
    if asked.study is not None and not facts.search:
        message = f"--study: the paper has no search on {which}; leave it out."
        raise UsageError(message)
    quick = _QUICK if asked.is_quick else ()
    assignments = [*quick, "train.num_threads=1", f"seed={asked.seed}"]
    splits = 1 if asked.is_quick else asked.splits
    trials = asked.trials or (2 if asked.is_quick else 16)
    return ReproduceJob(
        which,
        cohort.absolute(),
        options,
        load_config(recipe="paper", assignments=assignments),
        by_subject=splits,
        by_sample=min(splits, 2),
        trials=trials,
        study=None if asked.study is None else asked.study.absolute(),
        is_quick=asked.is_quick,
        out=out.absolute(),
    )


def _finished(job: ReproduceJob) -> Reproduction | None:
    """What an earlier run of the same command has found, if it is there."""
    inputs, result = read_json(job.out / INPUTS), read_json(job.out / RESULT)
    if inputs is None or result is None:
        require_absent(job.out)
        return None
    if differing := job.differing(inputs):
        message = (
            f"{job.out}: expected nothing there, found a reproduction with other inputs (they "
            f"differ in: {', '.join(differing)}). Choose another output place, or remove this one."
        )
        raise OutputError(message)
    return Reproduction.from_dict(result, str(job.out / RESULT))


def _made(
    job: ReproduceJob, asked: Asked, workers: int, seconds: float, load: float, kept: int
) -> dict[str, Any]:
    from immo_hpc.train.environment import package_versions, source_commit

    parts = job.parts().values()
    words = ["immo", "reproduce", job.which, "COHORT", "OUT", f"--workers {workers}"]
    words += [f"--splits {asked.splits}", f"--seed {asked.seed}"]
    if job.facts.search:
        words.append(f"--trials {job.trials}" if job.study is None else "--study STUDY")
    words += ["--quick"] * job.is_quick
    first = job.config.seed
    made = {
        "command": " ".join(words),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": source_commit() or "unknown",
        "seeds": f"by person {first} to {first + job.by_subject - 1}, "
        f"by sample {first} to {first + job.by_sample - 1}; search and resamples {first}",
        "workers": workers,
        "minutes": round(seconds / 60, 1),
        "processor_minutes": round(sum(part["cpu_seconds"] for part in parts) / 60, 1),
        "load": f"{load:.1f} when it began, {os.getloadavg()[0]:.1f} when it ended, "
        f"on {os.cpu_count()} processors",
        "versions": package_versions(),
    }
    if kept:
        made["parts from before"] = f"{kept}, not counted in the minutes"
    return made


def _save(found: Reproduction, job: ReproduceJob) -> None:
    with new_folder(job.out) as folder:
        values = json.dumps(found.to_dict(), indent=1, allow_nan=False)
        write_text(folder / RESULT, values + "\n")
        write_text(folder / INPUTS, json.dumps(job.digests(), indent=1) + "\n")
        write_text(folder / "config.yaml", job.config.to_yaml())
        write_text(folder / "report.html", render_reproduction(found))
        for name in _TABLES:
            table = getattr(found, name)
            if len(table):
                table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)


def _outcome(found: Reproduction, out: Path) -> Outcome:
    values = {"out": str(out), **found.to_dict()}
    lines = [*headline(found.verdicts), f"report: {out / 'report.html'}"]
    return Outcome(values, "\n".join(lines), found.notices)
