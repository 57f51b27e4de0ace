"""Verbs that use a trained model: embed, impute, generate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes

_TABLE = "Output: .parquet, .csv or .tsv (also .gz)"


def embed(
    run: options.RunPath,
    cohort: options.NewCohort = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help=f"{_TABLE}, or .h5mu with obsm['X_immo'].")
    ] = Path("latent.parquet"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Place samples in the shared latent space.

    Samples far from the training data are named; NAME.distance.tsv has the distance of each.

    Example: immo embed run new_cohort --out latent.csv
    """
    from immo_hpc.workflow.use import embed as apply

    outcome = apply(run, cohort, out, force=force)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def impute(
    run: options.RunPath,
    cohort: options.NewCohort = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="New folder (one table a layer), or .h5mu file."),
    ] = Path("imputed"),
    layers: options.Layers = None,
    format_: Annotated[
        str, typer.Option("--format", help="Tables in a folder: parquet, csv, tsv or csv.gz.")
    ] = "parquet",
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            help="Also write lower and upper ends that hold this share of such values, as 0.9.",
            metavar="SHARE",
        ),
    ] = None,
    far: Annotated[
        str,
        typer.Option(
            help="Samples far from the training data: abstain (leave missing) or keep (impute)."
        ),
    ] = "abstain",
    visits: Annotated[
        bool,
        typer.Option(
            "--visits/--no-visits",
            help="Use what other visits of a sample's person say too, or each sample by itself.",
        ),
    ] = True,
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Fill missing values and whole missing layers, in the units that went in.

    Beside each table stands one that marks which values were imputed. With --interval the ends
    of an interval around each imputed value stand in lower/ and upper/; measured values are their
    own ends. How far each sample is from the training data stands in distance/.

    Example: immo impute run --layers mb --interval 0.9 --out imputed
    """
    from immo_hpc.workflow.use import impute as apply

    outcome = apply(
        run,
        cohort,
        out,
        layers=options.names(layers),
        table_format=format_,
        level=interval,
        far=far,
        visits=visits,
        force=force,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def generate(
    run: options.RunPath,
    cohort: options.NewCohort = None,
    source: Annotated[
        str, typer.Option("--from", help="Layers to look at, separated by commas.")
    ] = "",
    target: Annotated[str, typer.Option("--to", help="Layer to generate.")] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help=_TABLE)] = Path("generated.parquet"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Generate one layer from others, for every sample that has one of these.

    Example: immo generate run --from mg --to mb --out mb_from_mg.csv
    """
    from immo_hpc.workflow.use import generate as apply

    outcome = apply(
        run, cohort, out, source=options.names(source) or [], target=target, force=force
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
