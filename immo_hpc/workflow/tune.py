"""From shards to a study: begun, joined, worked on by one or many processes, and told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from immo_hpc.data.manifest import read_manifest
from immo_hpc.errors import RunError, UsageError
from immo_hpc.search.build import build_space
from immo_hpc.search.measures import MEASURES, measures_of
from immo_hpc.search.pruning import check_pruner
from immo_hpc.search.study import Goal, Plan, StudyFolder, change_goal, make_or_join
from immo_hpc.search.suggest import SAMPLERS, SamplerName
from immo_hpc.search.warm import comparable, warm_start
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.train import settings_for
from immo_hpc.workflow.tuning.telling import told
from immo_hpc.workflow.tuning.workers import is_further_worker, supervise

if TYPE_CHECKING:
    from immo_hpc.search.objective import TrainingObjective

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a search was asked for; see `immo tune --help`."""

    config: Path | None = None
    recipe: str = "default"
    assignments: Sequence[str] = ()
    objective: str = "held-out"
    folds: int = 1
    sampler: str = "gp"
    space: Path | None = None
    search: Sequence[str] = ()
    warm: Sequence[str] = ()
    prune: str = "none"
    seed: int = 0


def tune(
    shards: Path,
    study: Path,
    asked: Asked | None,
    goal: dict[str, int],
    *,
    workers: int = 1,
    hours: float | None = None,
    say: Say = lambda line: None,
) -> Outcome:
    """Search, until the goal is met.

    Args:
        shards: Folder of shards.
        study: Study folder; made, or joined if it is there and the same was asked for.
        asked: What to search; None: join the study that is there, whatever it is.
        goal: Parts of `immo_hpc.search.study.Goal` to set.
        workers: Processes of this machine; 1: this one.
        hours: Time after which this command begins no further trial.
        say: Told what is being done.

    Raises:
        ConfigError: If the space, the objective or the configuration cannot be.
        CohortError: If the cohort does not fit the objective.
        RunError: If another study is there; nothing of it is changed.
        InterruptedRun: If it is asked to stop; the same command goes on.
    """
    folder = StudyFolder(Path(study))
    notices: list[str] = []
    if asked is None:
        plan = folder.read_plan()
        _require_data(folder, plan, shards)
    else:
        plan, notices = new_plan(shards, asked)
        if not folder.exists:
            _require_measurable(shards, plan)
        plan = make_or_join(folder, plan, Goal(**goal))
    folder.require_version()
    for name in plan.objectives:
        if MEASURES[name].warning:
            say(f"warning: {MEASURES[name].warning}")
    if goal:
        change_goal(folder, **goal)
    if workers > 1:
        is_done = supervise(shards, folder, plan, workers, hours, say)
    else:
        is_done = work(shards, folder, plan, hours=hours, say=say)
    # A further worker leaves the telling to the process that started it.
    outcome = told(folder, write=is_done and not is_further_worker())
    return Outcome(outcome.values, outcome.summary, (*notices, *outcome.notices))


def new_plan(shards: Path, asked: Asked) -> tuple[Plan, list[str]]:
    """The plan of a study, checked, and sentences for the user.

    Raises:
        ConfigError, RunError, ShardError: If it cannot be.
    """
    from immo_hpc.train.run import manifest_checksum
    from immo_kernels import MASK_STREAM_VERSION

    if asked.sampler not in SAMPLERS:
        message = f"--sampler '{asked.sampler}': expected {', '.join(SAMPLERS)}."
        raise UsageError(message)
    sampler: SamplerName = asked.sampler
    manifest = read_manifest(shards)
    settings = settings_for(manifest, shards, asked.config, asked.recipe, asked.assignments)
    measures = measures_of(asked.objective)
    space, notices = build_space(
        list(manifest.features),
        settings,
        file=asked.space,
        texts=asked.search,
        assignments=asked.assignments,
    )
    bare = Plan(
        shards=str(Path(shards).absolute()),
        data=manifest_checksum(shards),
        config=settings,
        space=space,
        objectives=tuple(measure.name for measure in measures),
        directions=tuple(measure.direction for measure in measures),
        folds=asked.folds,
        sampler=sampler,
        seed=asked.seed,
        pruner=check_pruner(asked.prune),
        warm=tuple(asked.warm),
        mask_stream_version=MASK_STREAM_VERSION,
    )
    warm = warm_start(asked.warm, space, settings, comparable(bare))
    plan = Plan(**{**vars(bare), "queue": warm.queue, "known": warm.known})
    return plan, [*notices, *warm.notices]


def work(
    shards: Path,
    folder: StudyFolder,
    plan: Plan,
    *,
    hours: float | None = None,
    say: Say = lambda line: None,
) -> bool:
    """Work on a study in this process; True if the study is finished."""
    import time

    from immo_hpc.search.study import Worker
    from immo_hpc.train.interrupt import StopRequest

    with StopRequest() as stop:
        deadline = float("inf") if hours is None else time.monotonic() + 3600 * hours
        worker = Worker(
            folder, plan, _objective(shards, plan), lambda: stop.name, say, deadline=deadline
        )
        return worker.run()


def resume(study: Path, *, workers: int = 1, say: Say = lambda line: None) -> Outcome:
    """Go on with a study as it is, on the shards it was made with."""
    folder = StudyFolder(Path(study))
    return tune(Path(folder.read_plan().shards), study, None, {}, workers=workers, say=say)


def export(study: Path) -> Outcome:
    """Write table, best configuration, page and journal of a study as it stands."""
    return told(StudyFolder(Path(study)), write=True)


def _objective(shards: Path, plan: Plan) -> TrainingObjective:
    from immo_hpc.data.shards import read_shards
    from immo_hpc.search.objective import TrainingObjective

    found = read_shards(shards)
    return TrainingObjective(plan, found.cohort, Path(shards), found.preparation.to_dict())


def _require_measurable(shards: Path, plan: Plan) -> None:
    """Refuse what no worker could measure, before anything is written.

    Raises:
        CohortError: If there is no validation side, too few people for the folds, or no
            label where one is needed.
    """
    from immo_hpc.search.sides import coded_labels, folds_of, require_validation, without_test

    require_validation(dict(read_manifest(shards).splits))
    if plan.folds == 1 and "auc" not in plan.objectives:
        return
    from immo_hpc.data.shards import read_shards

    seen = without_test(read_shards(shards).cohort)
    folds_of(seen, plan.folds, plan.config.seed)
    if "auc" in plan.objectives:
        coded_labels(seen)


def _require_data(folder: StudyFolder, plan: Plan, shards: Path) -> None:
    from immo_hpc.train.run import manifest_checksum

    if manifest_checksum(shards) != plan.data:
        message = (
            f"{folder.path}: the study was begun on the shards of {plan.shards}, and {shards} "
            "holds another cohort, or another state of it. Name the shards of the study."
        )
        raise RunError(message)
