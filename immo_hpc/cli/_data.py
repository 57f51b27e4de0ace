"""Verbs on cohorts: simulate, validate, prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, status


def simulate(
    out: Annotated[Path, typer.Argument(help="New folder for the cohort.")],
    subjects: Annotated[int, typer.Option(help="Number of people.", min=8)] = 60,
    visits: Annotated[float, typer.Option(help="Mean number of visits.", min=1)] = 6,
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
    as_json: options.Json = False,
) -> None:
    """Write a cohort with known latent factors, visits, and missing layers like IBDMDB's.

    Example: immo simulate cohort --subjects 80 --seed 1
    """
    from immo_hpc.workflow.prepare import simulate as run

    outcome = run(out, num_subjects=subjects, visits_mean=visits, seed=seed)
    emit(as_json, outcome.to_dict(), outcome.text())


def validate(
    cohort: options.CohortPath,
    layers: options.Layers = None,
    label: options.Label = None,
    subject: options.Subject = None,
    positive: options.Positive = None,
    time: options.Time = None,
    time_unit: options.TimeUnit = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which a cohort larger than memory is put while it is looked over; "
            "the current one by default."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say what is there, which layers overlap, what is missing, and what looks wrong.

    Exit code 1 if something stands in the way of an analysis.

    Example: immo validate cohort --label diagnosis
    """
    from immo_hpc.data.render import render_summary
    from immo_hpc.workflow.prepare import CohortOptions
    from immo_hpc.workflow.prepare import validate as run

    said = CohortOptions(options.names(layers), label, subject, positive, time, time_unit)
    summary = run(cohort, said, work)
    notes(summary.notices)
    emit(as_json, summary.to_dict(), render_summary(summary))
    if any(finding.severity == "error" for finding in summary.findings):
        raise typer.Exit(1)


def prepare(
    cohorts: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of tables (see docs/cohorts.md), .h5mu, or folders of .h5ad; several "
            "together are one cohort.",
            metavar="COHORT",
        ),
    ],
    shards: Annotated[Path, typer.Argument(help="New folder for the shards.")],
    layers: options.Layers = None,
    label: options.Label = None,
    subject: options.Subject = None,
    positive: options.Positive = None,
    time: options.Time = None,
    time_unit: options.TimeUnit = None,
    config: options.ConfigFile = None,
    recipe: options.Recipe = "default",
    assign: options.Assignments = None,
    seed: options.Seed = None,
    workers: Annotated[int, typer.Option(help="Processes of this machine to use.", min=1)] = 1,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what is made on the way; the same command with the same folder, "
            "on any number of machines, shares the work."
        ),
    ] = None,
    exclude: options.Exclude = None,
    dtype: Annotated[
        str, typer.Option(help="Stored values: float32, or float16 for half the size.")
    ] = "float32",
    rows_per_shard: Annotated[int, typer.Option(help="Samples in a file.", min=1)] = 4096,
    as_json: options.Json = False,
) -> None:
    """Turn tables into shards: split by subject, fit the preparation on training samples.

    Killed, the same command goes on where it was.

    Example: immo prepare cohort shards --set split.test_fraction=0.3
    """
    from immo_hpc.config import load_config
    from immo_hpc.workflow.prepare import CohortOptions
    from immo_hpc.workflow.prepare import prepare as run
    from immo_hpc.workflow.preparing.steps import shard_format

    assignments = options.with_exclusions(options.with_seed(assign, seed), exclude)
    settings = load_config(config, recipe=recipe, assignments=assignments)
    outcome = run(
        cohorts,
        shards,
        settings,
        CohortOptions(options.names(layers), label, subject, positive, time, time_unit),
        stored=shard_format(dtype, rows_per_shard),
        workers=workers,
        work=work,
        say=status,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
