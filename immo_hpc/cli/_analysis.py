"""Verbs that judge and explain a model: classify, explain, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, status

_OUT = typer.Option("--out", "-o", help="New folder for the tables behind the result.")


def classify(
    run: options.RunPath,
    cohort: options.NewCohort = None,
    out: Annotated[Path | None, _OUT] = None,
    as_json: options.Json = False,
) -> None:
    """Classify held-out people, or the samples of a new cohort.

    Without COHORT: a product of experts on the layers and the latent, and beside it seven
    classifiers on the latent and on raw features and simple baselines, learnt on training
    people and scored on held-out ones. With COHORT: the product predicts the new samples,
    with probabilities.

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
    baseline: Annotated[
        str, typer.Option(help="Relative to the training mean, or to the first class's: class.")
    ] = "mean",
    exclude: options.Exclude = None,
    suggest_exclusions: Annotated[
        bool,
        typer.Option(
            "--suggest-exclusions",
            help="Instead: list features that look like drugs or artefacts, as a file for "
            "--exclude.",
        ),
    ] = False,
    permute: Annotated[
        int,
        typer.Option(
            help="Features a layer, and as many controls, that are exchanged between people; 0 for "
            "all, -1 for none."
        ),
    ] = 25,
    refit: Annotated[
        int, typer.Option(help="Train so many networks anew, with other seeds and people.", min=0)
    ] = 0,
    workers: Annotated[int, typer.Option(help="Processes that train them.", min=1)] = 1,
    as_json: options.Json = False,
) -> None:
    """Name the features that move the classifiers, and say how far that can be believed.

    Integrated gradients of a classifier on the latent, and the exact attribution of the product
    of one model a layer; their stability over people and networks, and permutation importance.

    Example: immo explain run --top 20 --out attribution
    """
    from immo_hpc.workflow.explain import Asked, explain_run
    from immo_hpc.workflow.explain import suggest_exclusions as suggest

    if suggest_exclusions:
        outcome = suggest(run)
    else:
        asked = Asked(top, baseline, exclude, permute, refit, workers)
        outcome = explain_run(run, cohort, out, asked, say=status)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def report(
    run: options.RunPath,
    out: Annotated[Path, typer.Argument(help="HTML file to write.")] = Path("report.html"),
    force: options.Force = False,
    exclude: options.Exclude = None,
    as_json: options.Json = False,
) -> None:
    """Write one self-contained HTML file a biologist can read, from a finished run.

    Example: immo report run report.html
    """
    from immo_hpc.workflow.report import report_run

    outcome = report_run(run, out, force=force, exclude=exclude)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
