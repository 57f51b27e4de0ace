"""Arguments and options that several verbs share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from immo_hpc.errors import UsageError

CohortPath = Annotated[
    Path, typer.Argument(help="Folder of tables (see docs/cohorts.md), .h5mu, or folder of .h5ad.")
]
NewCohort = Annotated[
    Path | None,
    typer.Argument(help="Cohort of new samples, any set of layers; the run's own if not given."),
]
RunPath = Annotated[Path, typer.Argument(help="Run folder of `immo train`.")]
Layers = Annotated[
    str | None, typer.Option("--layers", help="Tables to use, separated by commas.", metavar="A,B")
]
Label = Annotated[str | None, typer.Option("--label", help="Label column of the sample table.")]
Subject = Annotated[
    str | None, typer.Option("--subject", help="Column that names the person of each sample.")
]
Time = Annotated[
    str | None,
    typer.Option("--time", help="Column that says when a sample was taken: numbers or ISO dates."),
]
TimeUnit = Annotated[
    Literal["hours", "days", "weeks", "months", "years"] | None,
    typer.Option("--time-unit", help="What the numbers of --time count; days if not given."),
]
Positive = Annotated[
    str | None, typer.Option("--positive", help="Label value that counts as 1 of two.")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with any part of the configuration.")
]
Recipe = Annotated[str, typer.Option("--recipe", help="Starting point: default or paper.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="One configuration key; may be repeated.", metavar="KEY=VALUE"),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed; as --set seed=N.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Exclude = Annotated[
    Path | None,
    typer.Option("--exclude", help="File of features to leave out: one name or pattern a line."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output file that exists.")]


def names(text: str | None) -> list[str] | None:
    """The comma-separated names in ``text``; None for all."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def must_launch(processes: int) -> bool:
    """Whether this process has to start ``processes`` of them, or is one of several itself.

    Raises:
        UsageError: If it was started as one of another number.
    """
    started = os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or "1"
    if processes == 1 or started == str(processes):
        return False
    if started != "1":
        message = (
            f"--processes {processes}: this is one of {started} processes already, which torchrun "
            "or srun started. Leave --processes out."
        )
        raise UsageError(message)
    return True


def with_seed(assignments: list[str] | None, seed: int | None) -> list[str]:
    """The ``--set`` texts with ``--seed`` as the last of them."""
    return [*(assignments or []), *([] if seed is None else [f"seed={seed}"])]


def with_exclusions(assignments: list[str], file: Path | None) -> list[str]:
    """The ``--set`` texts with the patterns of ``--exclude`` as the last of them."""
    if file is None:
        return assignments
    from immo_hpc.data.exclude import read_exclusions

    return [*assignments, f"preparation.exclude={json.dumps(read_exclusions(file))}"]
