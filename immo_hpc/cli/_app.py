"""The application and the list of its verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from immo_hpc._version import __version__
from immo_hpc.cli import (
    _analysis,
    _compare,
    _data,
    _demo,
    _jobs,
    _reproduce,
    _shards,
    _train,
    _tune,
    _use,
)
from immo_hpc.cli._console import result

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Integrate incomplete multi-omics cohorts: tables in, shared latent space, imputed "
    "layers, honest classification, attributed features and a report out.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        result(f"immo-hpc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


app.command()(_demo.demo)
app.command()(_data.simulate)
app.command()(_data.validate)
app.command()(_data.prepare)
app.command()(_train.train)
app.command()(_train.calibrate)
app.command()(_tune.tune)
app.command()(_use.embed)
app.command()(_use.impute)
app.command()(_use.generate)
app.command()(_analysis.classify)
app.command()(_analysis.explain)
app.command()(_analysis.report)
app.command()(_compare.compare)
app.command()(_reproduce.reproduce)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    _jobs.submit
)
app.command()(_jobs.status)
app.command()(_jobs.logs)
app.command()(_jobs.resume)
app.command()(_jobs.cancel)
app.add_typer(_shards.shards, name="shards")
bench = typer.Typer(no_args_is_help=True, help="Measured speed, with the limits beside it.")
bench.command("train")(_demo.bench_train)
bench.command("kernels")(_demo.bench_kernels)
bench.command("search")(_tune.bench_search)
bench.command("prepare")(_demo.bench_prepare)
bench.command("loader")(_demo.bench_loader)
app.add_typer(bench, name="bench")
