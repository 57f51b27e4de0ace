"""The verb that sets IMMO beside other methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, status


def compare(
    cohort: options.CohortPath,
    out: Annotated[
        Path | None, typer.Argument(help="New folder for tables, JSON and an HTML page.")
    ] = None,
    splits: Annotated[int, typer.Option(min=1, help="Splits by person, each with its seed.")] = 5,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", help="Methods, separated by commas; all if not given.", metavar="A,B"
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", help="Some of label,layers,values; revisited with --visits.", metavar="A,B"
        ),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing",
            help="Put missingness on top: none, or mcar, mar, mnar (below a detection limit), "
            "block or own, a rate and train, test or both. May be repeated.",
            metavar="MECHANISM:RATE:WHERE",
        ),
    ] = None,
    visits: Annotated[
        bool,
        typer.Option(
            "--visits", help="Give every method the other visits of a sample's person too."
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Methods run side by side.")] = 1,
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
    as_json: options.Json = False,
) -> None:
    """Set IMMO beside simple and other methods: same splits, same hidden values.

    Told are the AUC on people held out, the error of hidden layers and values, calibration,
    time and memory; differences by paired bootstrap over people. A command that was ended
    goes on when it is repeated.

    Example: immo compare cohort comparison --splits 12 --missing none --missing mnar:0.3:both
    """
    from immo_hpc.config import load_config
    from immo_hpc.workflow.compare import Asked
    from immo_hpc.workflow.compare import compare as run
    from immo_hpc.workflow.prepare import CohortOptions

    outcome = run(
        cohort,
        out,
        load_config(config, recipe=recipe, assignments=options.with_seed(assign, seed)),
        CohortOptions(options.names(layers), label, subject, positive, time, time_unit),
        Asked(
            options.names(methods),
            options.names(tasks),
            missing or ("none",),
            splits,
            workers,
            visits,
        ),
        say=status,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
