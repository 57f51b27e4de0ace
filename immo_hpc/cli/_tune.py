"""The verb tune."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes
from immo_hpc.cli._console import status as say


def tune(
    shards: Annotated[Path, typer.Argument(help="Shards of `immo prepare`.")],
    study: Annotated[Path, typer.Argument(help="Study folder: new, or one to join.")],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials to make.  [default: 50]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of this machine.")] = 1,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after this time.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=0, help="Begin no trial after so many without a better one.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="gp, tpe or random.")] = "gp",
    objective: Annotated[
        str, typer.Option(help="held-out, paper, auc, cost; several with commas.")
    ] = "held-out",
    folds: Annotated[
        int, typer.Option(min=1, help="Subject folds a trial is measured on; 1: validation side.")
    ] = 1,
    space: Annotated[
        Path | None, typer.Option(help="YAML file of the search space (see docs/search.md).")
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=RANGE", help="Search a key: low..high, low..high:log, a|b|c; repeatable."
        ),
    ] = None,
    warm: Annotated[
        list[str] | None,
        typer.Option(help="Begin with: paper, default, or an earlier study; repeatable."),
    ] = None,
    prune: Annotated[
        str, typer.Option(help="End trials that are behind: none, median, percentile:P.")
    ] = "none",
    top: Annotated[
        int | None, typer.Option(min=0, help="Best trials to train on other seeds.  [default: 3]")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds that judge each of them.  [default: 3]")
    ] = None,
    config: options.ConfigFile = None,
    recipe: options.Recipe = "default",
    assign: options.Assignments = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the suggestions.")] = 0,
    join: Annotated[
        bool, typer.Option("--join", help="Join the study that is there, as it is.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Only write table, best.yaml, page and journal.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Search hyperparameters; any number of workers share the study folder.

    The same command joins a study, or goes on with one that was stopped or killed.

    Example: immo tune shards study --trials 50 --workers 8
    """
    # Read by torch when it is imported; a sampler is slower with more.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from immo_hpc.errors import UsageError
    from immo_hpc.workflow.tune import Asked
    from immo_hpc.workflow.tune import export as write
    from immo_hpc.workflow.tune import tune as run
    from immo_hpc.workflow.tuning.workers import end_with_parent

    if export:
        outcome = write(study)
        emit(as_json, outcome.to_dict(), outcome.text())
        return
    asked = Asked(
        config=config,
        recipe=recipe,
        assignments=assign or (),
        objective=objective,
        folds=folds,
        sampler=sampler,
        space=space,
        search=search or (),
        warm=warm or (),
        prune=prune,
        seed=seed,
    )
    if join and (
        changed := [key for key, value in vars(asked).items() if value != vars(Asked())[key]]
    ):
        message = f"--join takes the study as it is; leave out {', '.join(changed)}."
        raise UsageError(message)
    end_with_parent()
    goal = {"trials": trials, "patience": patience, "top": top, "seeds": seeds}
    outcome = run(
        shards,
        study,
        None if join else asked,
        {key: value for key, value in goal.items() if value is not None},
        workers=workers,
        hours=hours,
        say=say,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def bench_search(
    shards: Annotated[
        Path | None, typer.Argument(help="Shards to search on too; a training a trial.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, to see that everything works.")
    ] = False,
    only: Annotated[
        str, typer.Option(help="Parts to measure, with commas: quality, overhead, faults.")
    ] = "quality,overhead,faults",
    study: Annotated[
        Path | None,
        typer.Option(help="Study on the shards; its trials stand in for new trainings."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Measure the search: best values after 50 trials, its own time, and workers that are killed.

    Example: immo bench search shards --quick
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from immo_hpc.bench.search import bench_search as run

    parts = [part.strip() for part in only.split(",")]
    measured = run(shards, quick=quick, parts=parts, study=study, out=out, say=say)
    emit(as_json, measured.to_dict(), measured.text())
