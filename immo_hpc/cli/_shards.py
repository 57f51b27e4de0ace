"""Verbs on sets of shards: ls, verify, stats, merge, append, prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, result

ShardsPath = Annotated[Path, typer.Argument(help="Folder of shards, made by `immo prepare`.")]

shards = typer.Typer(
    no_args_is_help=True, help="What is in a folder of shards, is it sound, and let it grow."
)


@shards.command("ls")
def list_(folder: ShardsPath, as_json: options.Json = False) -> None:
    """Say what is there: samples, layers, sides, files, and how the set grew.

    Example: immo shards ls shards
    """
    from immo_hpc.workflow.shards import list_shards

    outcome = list_shards(folder)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


@shards.command()
def verify(folder: ShardsPath, as_json: options.Json = False) -> None:
    """Check every byte, and name each problem with its shard, row group and column.

    Exit code 1 if there is one.

    Example: immo shards verify shards
    """
    from immo_hpc.workflow.shards import verify as run

    outcome, is_sound = run(folder)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
    if not is_sound:
        raise typer.Exit(1)


@shards.command()
def stats(
    folder: ShardsPath,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a row a layer, feature and side as CSV.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Count, mean, sd and range of the stored z-scores, by layer, feature and side.

    Example: immo shards stats shards --csv > statistics.csv
    """
    from immo_hpc.workflow.shards import statistics

    outcome, table = statistics(folder)
    if as_csv and not as_json:
        result(table.to_csv(index=False).rstrip())
    else:
        emit(as_json, outcome.to_dict(), outcome.text())


@shards.command()
def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Two sets or more, then the new folder.", metavar="SHARDS... OUT"),
    ],
    as_json: options.Json = False,
) -> None:
    """Put sets of one preparation together; their files are linked, not written again.

    Example: immo shards merge site-a site-b both
    """
    from immo_hpc.errors import UsageError
    from immo_hpc.workflow.shards import merge as run

    if len(folders) < 3:
        message = (
            f"immo shards merge: expected two sets or more and then the new folder, found "
            f"{len(folders)} names. Example: immo shards merge site-a site-b both"
        )
        raise UsageError(message)
    outcome = run(folders[:-1], folders[-1])
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


@shards.command()
def append(
    folder: ShardsPath,
    cohorts: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of tables (see docs/cohorts.md), .h5mu, or folders of .h5ad; several "
            "together are one cohort.",
            metavar="COHORT...",
        ),
    ],
    layers: options.Layers = None,
    label: options.Label = None,
    subject: options.Subject = None,
    time: options.Time = None,
    time_unit: options.TimeUnit = None,
    skip_known: Annotated[
        bool, typer.Option("--skip-known", help="Leave out what the set has already.")
    ] = False,
    add_features: Annotated[
        bool, typer.Option("--add-features", help="Let unknown features join their layer.")
    ] = False,
    drift: Annotated[
        Path | None,
        typer.Option("--drift", help="File for the drift of every feature: .tsv, .csv, .json."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Add samples, layers and features; old subjects keep their side, old values every bit.

    Killed, the set is as it was, and the same command does the work again.

    Example: immo shards append shards visits-of-may --drift drift.tsv
    """
    from immo_hpc.workflow.prepare import CohortOptions
    from immo_hpc.workflow.shards import append as run

    outcome = run(
        folder,
        cohorts,
        CohortOptions(options.names(layers), label, subject, time=time, time_unit=time_unit),
        skip_known=skip_known,
        add_features=add_features,
        drift=drift,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


@shards.command()
def prune(folder: ShardsPath, as_json: options.Json = False) -> None:
    """Drop earlier generations of a set that grew, and the files that only they need.

    Example: immo shards prune shards
    """
    from immo_hpc.workflow.shards import prune as run

    outcome = run(folder)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
