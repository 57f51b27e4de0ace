"""The verb train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes
from immo_hpc.cli._progress import epoch_progress


def train(
    shards: Annotated[Path, typer.Argument(help="Shards of `immo prepare`.")],
    run: Annotated[Path, typer.Argument(help="Run folder; new, unless --resume.")],
    config: options.ConfigFile = None,
    recipe: options.Recipe = "default",
    assign: options.Assignments = None,
    seed: options.Seed = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of RUN, if any.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for another process that trains into RUN."),
    ] = 0.0,
    init_from: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            help="Finished run to start from; its weights are matched by layer and feature names.",
            metavar="RUN",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(min=1, help="Processes of this machine that share the training."),
    ] = 1,
    as_json: options.Json = False,
) -> None:
    """Train a model on shards. An interrupted run goes on with --resume, exactly.

    Several processes (--processes, torchrun, srun) share each batch and train the model that one
    would; --resume takes any number of them. With --init-from a cohort that has grown
    goes on from an earlier run: what is reused and what is new is said.

    Example: immo train shards run --set model.latent_dim=64 --set train.epochs=100
    """
    if options.must_launch(processes):
        from immo_hpc.workflow.launch import launch

        raise typer.Exit(launch(sys.argv[1:], processes))
    from immo_hpc.workflow.train import train as fit

    with epoch_progress() as show:
        outcome = fit(
            shards,
            run,
            config=config,
            recipe=recipe,
            assignments=options.with_seed(assign, seed),
            resume=resume,
            wait_s=wait,
            init_from=init_from,
            on_epoch=show,
        )
    if outcome is None:
        return  # The first process speaks for this one.
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def calibrate(
    run: options.RunPath,
    shards: Annotated[
        Path | None, typer.Argument(help="Shards of the run; where they were if not given.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the calibration there is.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Measure how far off a run is on its validation people, for intervals and distances.

    Training does this by itself; runs of older versions are given a calibration here.

    Example: immo calibrate run
    """
    from immo_hpc.workflow.calibrate import calibrate as measure

    outcome = measure(run, shards, force=force)
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())
