"""Verbs of jobs: submit, status, logs, resume, cancel."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from immo_hpc.cli import _options as options
from immo_hpc.cli._console import emit, notes, result
from immo_hpc.cli._console import status as say

JobPath = Annotated[
    Path, typer.Argument(metavar="DIR", help="Job folder, or the folder of runs it stands beside.")
]
_LOG_LINES = 8


def submit(
    context: typer.Context,
    verb: Annotated[str, typer.Argument(help="Verb to run: train, tune, prepare or reproduce.")],
    profile: Annotated[
        str, typer.Option("--profile", "-p", help="Profile: a YAML file, local or slurm.")
    ],
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="One key of the profile; repeatable."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="train: one run a seed, such as 0-7 or 0,3,5-9.")
    ] = None,
    configs: Annotated[
        list[str] | None,
        typer.Option(help="train: one run a file; files, or a folder of .yaml files."),
    ] = None,
    array: Annotated[
        int | None,
        typer.Option(min=1, help="Tasks: seeds 0 to N-1 (train), processes at one work (others)."),
    ] = None,
    jobs: Annotated[
        Path | None, typer.Option(help="New job folder; by default beside what is filled.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print script and commands; write nothing.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Run a verb as jobs that survive what a cluster does to them.

    After the verb come its own arguments and options. For an array of trainings the last
    argument is the folder of their run folders.

    Example: immo submit train shards runs --seeds 0-7 --profile slurm --with account=my_lab
    """
    from immo_hpc.cli._words import asked
    from immo_jobs.folder import default_folder
    from immo_jobs.plan import Array, parse_configs, parse_seeds, plan
    from immo_jobs.profile import load_profile
    from immo_jobs.submit import preview
    from immo_jobs.submit import submit as hand_over

    settings = load_profile(profile, with_ or ())
    request = asked(verb, context.args)
    size = Array(parse_seeds(seeds) if seeds else (), parse_configs(configs or ()), array)
    tasks = plan(request, size)
    folder = (jobs or default_folder(request.out)).absolute()
    if dry_run:
        result(preview(folder, tasks, settings))
        return
    submitted = hand_over(folder, verb, tasks, settings, profile)
    notes(submitted.notices)
    text = f"{len(tasks)} task{'s' * (len(tasks) > 1)} submitted; see: immo status {folder}"
    emit(as_json, {"job": str(folder), "tasks": list(submitted.names)}, text)


def status(
    job: JobPath,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again, until all ends.")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between looks.")] = 10.0,
    as_json: options.Json = False,
) -> None:
    """Say how each task stands: queued, running, interrupted, finished, failed, gave up.

    Of a study folder: trials done, running, pruned and failed, the best, the time left.

    Example: immo status runs --watch
    """
    if is_study(job):
        _study_status(job, watch=watch, every=every, as_json=as_json)
        return
    from immo_jobs.folder import find_job
    from immo_jobs.render import status_text, status_values
    from immo_jobs.survey import survey

    folder = find_job(job)
    while True:
        rows = survey(folder)
        emit(as_json, status_values(folder, rows), status_text(folder, rows))
        if not watch or not any(row.is_live for row in rows):
            return
        time.sleep(every)


def is_study(path: Path) -> bool:
    """True if ``path`` is the study folder of a search."""
    return (path / "study.json").exists()


def _study_status(study: Path, *, watch: bool, every: float, as_json: bool) -> None:
    from immo_hpc.search.study.folder import StudyFolder
    from immo_hpc.workflow.tuning.telling import told

    while True:
        outcome = told(StudyFolder(study), write=False)
        emit(as_json, outcome.to_dict(), outcome.text())
        if not watch or outcome.values["is_finished"]:
            return
        time.sleep(every)


def logs(
    job: JobPath,
    task: Annotated[
        str | None, typer.Argument(help="Task; the last lines of all tasks if not given.")
    ] = None,
) -> None:
    """Print what a task said, over all its attempts.

    Example: immo logs runs seed-3
    """
    from immo_jobs.folder import find_job
    from immo_jobs.submit import log_text

    folder = find_job(job)
    if task is not None:
        result(log_text(folder, task))
        return
    for name in folder.names:
        result(f"== {name}\n{log_text(folder, name, _LOG_LINES)}")


def resume(job: JobPath, as_json: options.Json = False) -> None:
    """Submit again what is not finished and not under way; it goes on where it ended.

    A study folder without a job beside it is gone on with in this process.

    Example: immo resume runs
    """
    if is_study(job) and not job.with_name(job.name + ".jobs").exists():
        from immo_hpc.workflow.tune import resume as search_on

        os.environ.setdefault("OMP_NUM_THREADS", "1")
        outcome = search_on(job, say=say)
        emit(as_json, outcome.to_dict(), outcome.text())
        return
    from immo_jobs.folder import find_job
    from immo_jobs.submit import resume as go_on

    submitted = go_on(find_job(job))
    notes(submitted.notices)
    names = submitted.names
    text = (
        f"submitted again: {', '.join(names)}"
        if names
        else "nothing to submit: all tasks are finished or under way"
    )
    emit(as_json, {"job": str(submitted.job.path), "tasks": list(names)}, text)


def cancel(job: JobPath, as_json: options.Json = False) -> None:
    """Stop a job: what runs writes a checkpoint and ends, what waits never begins.

    Example: immo cancel runs
    """
    from immo_jobs.folder import find_job
    from immo_jobs.submit import cancel as stop

    folder = find_job(job)
    names = stop(folder)
    text = f"{len(names)} stopped; go on with: immo resume {folder.path}"
    emit(as_json, {"job": str(folder.path), "tasks": list(names)}, text)
