"""Verbs that judge and explain a model: classify, explain, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes

_OUT = typer.Option("--out", "-o", help="New folder for the tables behind the result.")


def classify(
    run: options.RunPath,
    cohort: options.NewCohort = None,
    out: Annotated[Path | None, _OUT] = None,
    as_json: options.Json = False,
) -> None:
    """Classify held-out people, or the samples of a new cohort, from the latent.

    Without COHORT: seven classifiers on the latent and on raw features, and simple
    baselines, learnt on training people and scored on held-out ones. With COHORT: the
    classifier that was chosen inside the training people predicts the new samples.

    Example: immo classify run --out classification
    """
    from immo_hpc.workflow.evaluate import classify_new, classify_run

    outcome = classify_run(run, out) if cohort is None else classify_new(run, cohort, out)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def explain(
    run: options.RunPath,
    cohort: options.NewCohort = None,
    out: Annotated[Path | None, _OUT] = None,
    top: Annotated[int, typer.Option(help="Features to name per layer.", min=1)] = 10,
    as_json: options.Json = False,
) -> None:
    """Name the features that move a classifier of the latent (integrated gradients).

    Example: immo explain run --top 20 --out attribution
    """
    from immo_hpc.workflow.evaluate import explain_run

    outcome = explain_run(run, cohort, out, top=top)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def report(
    run: options.RunPath,
    out: Annotated[Path, typer.Argument(help="HTML file to write.")] = Path("report.html"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Write one self-contained HTML file a biologist can read, from a finished run.

    Example: immo report run report.html
    """
    from immo_hpc.workflow.report import report_run

    outcome = report_run(run, out, force=force)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
