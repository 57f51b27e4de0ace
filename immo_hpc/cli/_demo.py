"""Verbs that run whole flows: demo and the benches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, status
from immo_hpc.cli._progress import epoch_progress


def demo(
    out: Annotated[Path, typer.Argument(help="New folder for everything.")] = Path("demo"),
    cohort: Annotated[
        Path | None, typer.Option("--cohort", help="Cohort to use instead of a simulated one.")
    ] = None,
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
    """Run the whole flow: prepare, train, embed, impute, classify, explain, report.

    Example: immo demo out --cohort my_cohort
    """
    from immo_hpc.config import load_config
    from immo_hpc.workflow.demo import demo as run
    from immo_hpc.workflow.prepare import CohortOptions

    settings = load_config(config, recipe=recipe, assignments=options.with_seed(assign, seed))
    with epoch_progress() as show:
        outcome = run(
            out,
            cohort,
            settings,
            CohortOptions(options.names(layers), label, subject, positive, time, time_unit),
            on_epoch=show,
            say=status,
        )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def bench_train(
    cohort: Annotated[
        Path | None, typer.Argument(help="Cohort to train on; a simulated one if not given.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each timed training.")] = 100,
    repeats: Annotated[int, typer.Option(min=1, help="Timed trainings of each kind.")] = 3,
    processes: Annotated[
        str | None,
        typer.Option(help="Instead: train by so many processes each.", metavar="1,2,4"),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(help="With --processes: time a training submitted so too; repeatable."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="With --profile: a folder that all nodes see.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --processes: only to see that it works.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Time training beside a plain PyTorch loop of the same model, in one process.

    With --processes: samples a second by several processes, start-up, checkpoints, lost work;
    with --profile too: from immo submit to the first step, as for immo submit.

    Example: immo bench train cohort --out benchmarks/results/train.json
    """
    if processes is not None:
        from immo_hpc.workflow.bench import bench_processes

        shared = bench_processes(
            cohort,
            processes=processes,
            epochs=epochs,
            quick=quick,
            profiles=profile or (),
            folder=folder,
            out=out,
            say=status,
        )
        emit(as_json, shared.to_dict(), shared.text())
        return
    from immo_hpc.workflow.bench import bench_train as run

    outcome = run(cohort, epochs=epochs, repeats=repeats, out=out)
    emit(as_json, outcome.to_dict(), outcome.text())


def bench_kernels(
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the cases that the claims are about.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Time torch.compile beside it.")
    ] = True,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each kind.")] = 9,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Time the kernels beside plain PyTorch, torch.compile and copying, in one process.

    Example: immo bench kernels --quick --out benchmarks/results/kernels.json
    """
    from immo_hpc.workflow.bench import bench_kernels as run

    outcome = run(
        quick=quick, with_compile=compiled, rounds=rounds, device=device, out=out, say=status
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def bench_prepare(
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny tables, to see that it works.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each kind.")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Processes to prepare with.")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for tables and shards, on the disk to measure.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Time preparing CSV and Parquet tables of several sizes beside pandas doing the same.

    Example: immo bench prepare --out benchmarks/results/prepare.json
    """
    from immo_hpc.workflow.bench import bench_prepare as run

    outcome = run(quick=quick, repeats=repeats, workers=workers, folder=folder, out=out, say=status)
    emit(as_json, outcome.to_dict(), outcome.text())


def bench_loader(
    gb: Annotated[float, typer.Option(min=0.001, help="Measured values, 10^9 bytes.")] = 8.0,
    memory_gb: Annotated[
        float, typer.Option(min=1.0, help="Memory limit of each process, 10^9 bytes.")
    ] = 2.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 1024,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Time for an epoch of each other loader.")
    ] = 10.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small cohort, to see that it works.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for the copies, on the disk to measure: five times --gb."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the copies for the next run.")
    ] = False,
    beside: Annotated[
        str | None,
        typer.Option(
            help="Other loaders, separated by ';', such as 'npy; anndata'; 'none' for none. "
            "All that are installed if not given."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file to write.")] = None,
    as_json: options.Json = False,
) -> None:
    """Measure shuffled batches of a cohort larger than memory, beside other loaders.

    Example: immo bench loader --folder /scratch --out benchmarks/results/loader.json
    """
    from immo_hpc.workflow.bench import bench_loader as run

    outcome = run(
        gb=gb,
        memory_gb=memory_gb,
        batch_size=batch_size,
        repeats=repeats,
        seconds=seconds,
        quick=quick,
        folder=folder,
        keep=keep,
        beside=None if beside is None else _names(beside),
        out=out,
        say=status,
    )
    notes(outcome.notices)
    emit(as_json, outcome.to_dict(), outcome.text())


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(";")]
    return [] if names == ["none"] else names
