"""A finished run opened for use, with the samples it is to be used on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immo_hpc.data.cohort import Cohort
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.read import read_cohort
from immo_hpc.data.shards import read_shards
from immo_hpc.errors import RunError
from immo_hpc.inference import TrainedModel
from immo_hpc.train import RunFolder


@dataclass(frozen=True)
class OpenRun:
    """A run, its model, and the samples it was trained and tested on.

    Attributes:
        folder: The run folder.
        description: Content of ``run.json``.
        model: The trained model.
        cohort: The run's own samples.
        manifest: Manifest of the shards these came from.
    """

    folder: RunFolder
    description: dict[str, Any]
    model: TrainedModel
    cohort: PreparedCohort
    manifest: Manifest


@dataclass(frozen=True)
class Chosen:
    """Samples to use a model on.

    Attributes:
        cohort: Prepared samples.
        raw: The same in original units, if they come from tables.
        notices: What was ignored or treated as not measured, as sentences.
    """

    cohort: PreparedCohort
    raw: Cohort | None
    notices: tuple[str, ...]


def open_run(run: Path) -> OpenRun:
    """Open a finished run and the shards it was trained on.

    Raises:
        RunError: If ``run`` is no finished run folder, or its shards have moved.
        ShardError: If the shards are damaged.
    """
    model = TrainedModel.load(run)
    folder = RunFolder(run)
    description = json.loads(folder.description.read_text(encoding="utf-8"))
    shards = Path(description["shards"])
    if not shards.is_dir():
        message = (
            f"{folder.description}: the shards of the run are expected at {shards}, and are not "
            "there. Put them back, or name a cohort to use the model on."
        )
        raise RunError(message)
    shard_set = read_shards(shards)
    return OpenRun(folder, description, model, shard_set.cohort, shard_set.manifest)


def choose_samples(run: Path, cohort: Path | None) -> tuple[TrainedModel, Chosen]:
    """The model of a run, and the samples of ``cohort``, or the run's own.

    Raises:
        RunError, ShardError: As `open_run`.
        CohortError: If the cohort cannot be read, or a sample has none of the model's layers.
    """
    if cohort is None:
        opened = open_run(run)
        return opened.model, Chosen(opened.cohort, None, ())
    model = TrainedModel.load(run)
    raw = read_cohort(cohort)
    notices = (*raw.notices, *model.notices(raw))
    return model, Chosen(model.prepare(raw), raw, notices)
