"""IMMO beside other methods, on the same splits, hidden values and resamples."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from immo_hpc.analysis.compare.contender import TASKS, VISITS_TASKS, Contender
from immo_hpc.analysis.compare.missing import Missing
from immo_hpc.analysis.compare.page import render_comparison
from immo_hpc.analysis.compare.registry import chosen
from immo_hpc.analysis.compare.results import Comparison
from immo_hpc.analysis.compare.summary import summarise
from immo_hpc.analysis.compare.trial import make_trial
from immo_hpc.analysis.labels import NO_SUBJECTS, labelled_samples
from immo_hpc.config import ImmoConfig
from immo_hpc.errors import CohortError, UsageError
from immo_hpc.files import new_folder, require_absent, write_text
from immo_hpc.workflow.comparing.child import run_methods
from immo_hpc.workflow.comparing.job import CompareJob
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.prepare import CohortOptions
from immo_hpc.workflow.preparing.place import describe_inputs

_NUM_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Asked:
    """What the user wants compared.

    Attributes:
        methods: Names of methods; None for all.
        tasks: 'label', 'layers', 'values'; None for those the cohort allows.
        missing: Patterns of missingness, as typed.
        splits: Number of splits by subject.
        workers: Methods run side by side.
        visits: Give every method the other visits of a sample's person too.
    """

    methods: Sequence[str] | None = None
    tasks: Sequence[str] | None = None
    missing: Sequence[str] = ("none",)
    splits: int = 5
    workers: int = 1
    visits: bool = False


def compare(
    cohort: Path,
    out: Path | None,
    config: ImmoConfig,
    options: CohortOptions,
    asked: Asked,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Compare methods on a cohort.

    Answers of single splits are kept beside ``out`` until all are there: a command that was
    ended goes on where it was when it is repeated, with more splits or methods too.

    Args:
        cohort: Place of the cohort.
        out: New folder for tables, JSON and the page; None: only the outcome.
        config: Split, preparation, seed, and the settings of IMMO.
        options: What the user says about the cohort.
        asked: What is compared.
        say: Told what is done, a line at a time.

    Raises:
        CohortError: If the cohort cannot be used, or there is nothing to classify.
        UsageError: If a method, task or pattern is unknown.
        OutputError: If ``out`` exists and is not empty, or cannot be written.
    """
    if out is not None:
        require_absent(out)
    missing = tuple(dict.fromkeys(Missing.parse(text) for text in asked.missing or ("none",)))
    tasks = _tasks(asked.tasks, visits=asked.visits)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if out is None else out.absolute().with_name(f".{out.name}.compare")
        job = CompareJob(
            cohort.absolute(), options, config, missing, asked.splits, tasks, work, asked.visits
        )
        job, notices = _possible(job, asked.tasks is None)
        contenders, left_out = chosen(asked.methods, job.tasks)
        if asked.methods is None and not job.visits:
            contenders = [item for item in contenders if item.name != "visits"]
        job.begin(describe_inputs([job.cohort]))
        comparison = _compared(job, contenders, (*notices, *left_out), asked.workers, say)
        if out is not None:
            _save(comparison, config, out)
            job.clear()
    values = {"out": None if out is None else str(out), **comparison.to_dict()}
    return Outcome(values, comparison_text(comparison), comparison.notices)


def _compared(
    job: CompareJob,
    contenders: Sequence[Contender],
    notices: Sequence[str],
    workers: int,
    say: Callable[[str], None],
) -> Comparison:
    names = [item.name for item in contenders]
    began = time.monotonic()
    for number, name in enumerate(run_methods(job, names, workers), start=1):
        seconds = time.monotonic() - began
        say(f"{number} of {len(names)} methods: {name} done after {seconds:.0f} s")
    cohort = job.read()
    return summarise(
        list(job.items(names)),
        contenders,
        cohort=job.cohort.name,
        label=cohort.roles.label,
        num_subjects=int(cohort.subjects.nunique()),
        num_bootstrap=_NUM_BOOTSTRAP,
        seed=job.config.seed,
        notices=notices,
    )


def _tasks(names: Sequence[str] | None, *, visits: bool) -> tuple[str, ...]:
    usual = VISITS_TASKS if visits else TASKS
    tasks = tuple(usual if names is None else dict.fromkeys(names))
    known = tuple(dict.fromkeys((*TASKS, *usual)))
    if not tasks or not set(tasks) <= set(known):
        message = f"--tasks: found {', '.join(tasks) or 'none'}; choose from {', '.join(known)}."
        if "revisited" in tasks and not visits:
            message += " 'revisited' is asked with --visits."
        raise UsageError(message)
    return tasks


def _possible(job: CompareJob, may_drop: bool) -> tuple[CompareJob, tuple[str, ...]]:
    """The job with the tasks that the cohort allows, and what a reader must know.

    Refused before any method runs is what would fail in all of them.
    """
    cohort = job.read()
    trial = make_trial(cohort, job.settings(0), job.missing[0])
    notices, tasks = cohort.notices, list(job.tasks)
    if job.visits:
        if "label" in tasks and not may_drop:
            message = (
                "--visits gives methods other visits to impute from, and the label is scored by "
                "person in any case: ask with --tasks layers,values,revisited."
            )
            raise UsageError(message)
        tasks = [task for task in tasks if task != "label"]
        notices = (
            *notices,
            "Every method is given the other visits of a sample's person, as further layers; a "
            "hidden layer is hidden in all visits of the test people, unless it says at one visit.",
        )
    if "label" in tasks:
        try:
            notices = (*notices, *labelled_samples(trial.shown).notices)
        except CohortError as error:
            if not may_drop:
                raise
            tasks.remove("label")
            notices = (*notices, f"The label is not compared: {error}")
    if cohort.roles.subject is None and NO_SUBJECTS not in notices:
        notices = (*notices, NO_SUBJECTS)
    if len(cohort.layers) < 2 and "layers" in tasks and may_drop:
        tasks.remove("layers")
        notices = (*notices, "Hidden layers are not compared: there is only one layer.")
    return CompareJob(**{**vars(job), "tasks": tuple(tasks)}), notices


def _save(comparison: Comparison, config: ImmoConfig, out: Path) -> None:
    tables = {
        "label": comparison.label_scores,
        "imputation": comparison.imputation,
        "cost": comparison.cost,
        "failures": comparison.failures,
    }
    with new_folder(out) as folder:
        text = json.dumps(comparison.to_dict(), indent=1, allow_nan=False) + "\n"
        write_text(folder / "comparison.json", text)
        for name, table in tables.items():
            if len(table):
                table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        write_text(folder / "config.yaml", config.to_yaml())
        write_text(folder / "report.html", render_comparison(comparison, config.to_yaml()))


def comparison_text(comparison: Comparison) -> str:
    """The tables and the verdicts, for a terminal."""
    lines = [
        f"{comparison.cohort}: {comparison.num_splits} "
        f"split{'s' * (comparison.num_splits != 1)} of {comparison.num_subjects} people"
    ]
    lines += _text_of(comparison.label_scores, ["missing", "part"], "auc", "AUC by person")
    lines += _text_of(comparison.imputation, ["missing", "task", "layer"], "r2", "R²")
    return "\n".join([*lines, *comparison.verdicts])


def _text_of(table: pd.DataFrame, keys: list[str], measure: str, name: str) -> list[str]:
    lines: list[str] = []
    if not len(table):
        return lines
    for at, rows in table.groupby(keys, sort=False):
        lines.append(f"{name}, {', '.join(str(key) for key in at)}:")
        for row in rows.sort_values(measure, ascending=False).to_dict(orient="records"):
            lines.append(f"  {row['title']:<44} {_value(row, measure)}")
    return lines


def _value(row: dict[Any, Any], measure: str) -> str:
    told, sd = f"{row[measure]:.3f}", row[f"{measure}_sd"]
    if math.isfinite(sd):  # Of one split there is none.
        told += f" ± {sd:.3f}"
    if row["is_reference"]:
        return f"{told}  (best simple)"
    return f"{told}  {row['difference']:+.3f} [{row['lower']:+.3f}, {row['upper']:+.3f}]"
