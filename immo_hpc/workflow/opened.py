"""A finished run opened for use, with the samples it is to be used on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.cohort import Cohort
from immo_hpc.data.manifest import Manifest, read_manifest
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.read import read_cohort
from immo_hpc.data.sample_table import with_known_roles
from immo_hpc.data.stream import ShardIndex
from immo_hpc.errors import RunError
from immo_hpc.inference import (
    Samples,
    TrainedModel,
    embed_samples,
    new_samples,
    prepared_samples,
)
from immo_hpc.train import RunFolder
from immo_hpc.train.samples import load_samples
from immo_hpc.workflow.reading import opened_cohort
from immo_hpc.workflow.subset import Subset, some_subjects


@dataclass(frozen=True)
class OpenRun:
    """A run, its model, and the samples it was trained and tested on.

    Samples are read when they are first asked for. Their values are held in memory if the
    run's ``train.memory_gb`` allows it, as in training.

    Attributes:
        folder: The run folder.
        description: Content of ``run.json``.
        model: The trained model.
        shards: The folder of the run's own samples.
        manifest: Its manifest.
    """

    folder: RunFolder
    description: dict[str, Any]
    model: TrainedModel
    shards: Path
    manifest: Manifest

    @cached_property
    def cohort(self) -> PreparedCohort | ShardIndex:
        """All samples: in memory, or the opened shards."""
        return load_samples(self.shards, self.model.config.train)[0]

    @cached_property
    def samples(self) -> Samples:
        """All samples, to use the model on."""
        return prepared_samples(self.cohort)

    @cached_property
    def latent(self) -> NDArray[np.float32]:
        """Latent of all samples, ``(sample, latent)``."""
        return np.asarray(embed_samples(self.model, self.samples), dtype=np.float32)

    @cached_property
    def analysed(self) -> Subset:
        """The samples whose values are looked at: all of them if they are in memory."""
        if isinstance(self.cohort, PreparedCohort):
            return Subset(np.arange(len(self.cohort.samples)), self.cohort)
        return some_subjects(self.samples, self.model.config.train.memory_gb)

    @property
    def analysed_latent(self) -> NDArray[np.float32]:
        """Latent of those."""
        return self.latent[self.analysed.places]


@dataclass(frozen=True)
class Chosen:
    """Samples to use a model on.

    Attributes:
        samples: The samples, prepared some at a time.
        notices: What was ignored or treated as not measured, as sentences.
    """

    samples: Samples
    notices: tuple[str, ...]


def open_run(run: Path) -> OpenRun:
    """Open a finished run and the manifest of the shards it was trained on.

    Raises:
        RunError: If ``run`` is no finished run folder, or its shards have moved.
        ShardError: If there is no sound manifest; damaged shards are told when the samples
            are first read.
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
    return OpenRun(folder, description, model, shards, read_manifest(shards))


@contextmanager
def chosen_samples(
    run: Path, cohort: Path | None, out: Path
) -> Iterator[tuple[TrainedModel, Chosen]]:
    """The model of a run, and the samples of ``cohort``, or the run's own.

    Args:
        run: The run folder.
        cohort: A cohort in original units; None for the run's own samples.
        out: Where the outcome goes; a large cohort is put beside it for the time being.

    Raises:
        RunError, ShardError: As `open_run`.
        CohortError: If the cohort cannot be read, or a sample has none of the model's layers.
        BusyError, OutputError: As `opened_cohort`.
    """
    if cohort is None:
        opened = open_run(run)
        yield opened.model, Chosen(opened.samples, ())
        return
    model = TrainedModel.load(run)
    with new_cohort(model, cohort, out) as chosen:
        yield model, chosen


@contextmanager
def new_cohort(model: TrainedModel, cohort: Path, out: Path) -> Iterator[Chosen]:
    """The samples of a cohort in original units, for a model; see `chosen_samples`."""

    def read(scratch: Path | None) -> Cohort:
        return with_known_roles(read_cohort(cohort, scratch=scratch), model.roles)

    with opened_cohort(cohort, out, read) as raw:
        notices = (*raw.notices, *model.notices(raw))
        yield Chosen(new_samples(model, raw), notices)
