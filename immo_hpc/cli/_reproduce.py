"""The verb that sets the paper's tables and figures beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, status


def reproduce(
    which: Annotated[str, typer.Argument(help="Cohort of the paper: ibdmdb or ipop.")],
    cohort: options.CohortPath,
    out: Annotated[Path, typer.Argument(help="New folder for the page, JSON and tables.")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, one thread each.  [default: processors]"),
    ] = None,
    splits: Annotated[
        int, typer.Option(min=1, help="Splits by person; by sample as many, at most 2.")
    ] = 5,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Rounds of the search.  [default: 16]")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Study of `immo tune` to read instead of searching.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A try-out of a minute; its figures mean nothing.")
    ] = False,
    label: options.Label = None,
    subject: options.Subject = None,
    positive: options.Positive = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first split.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Set the paper's tables and figures beside ours, from the cohort's tables to a report.

    Subsets, hyperparameter search, dynamic against static mask, six classifiers on every
    subset (split by sample as in the paper, and by person), latent against raw features,
    layers taken away, top features. A command that was killed goes on when it is repeated.

    Example: immo reproduce ibdmdb cohort reproduction --workers 2
    """
    from immo_hpc.workflow.prepare import CohortOptions
    from immo_hpc.workflow.reproduce import Asked
    from immo_hpc.workflow.reproduce import reproduce as run

    outcome = run(
        which,
        cohort,
        out,
        CohortOptions(None, label, subject, positive),
        Asked(splits, trials, study, workers, quick, seed),
        say=status,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
