"""Everything the report's page is made of, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.coverage import CoverageResult
from immo_hpc.analysis.report.text import class_title
from immo_hpc.analysis.results import AttributionResult, ClassificationResult, ImputationResult
from immo_hpc.data.cohort import Roles


@dataclass(frozen=True)
class ReportContent:
    """One trained model on one cohort, for people.

    A part that is None (or empty) is replaced in the page by its sentence in ``absent``,
    or by a general one.

    Attributes:
        cohort: Name of the cohort: the title.
        samples: Sample table, index ``sample_id``, columns named by ``roles``; text, None =
            unknown.
        roles: Meaning of the sample table's columns.
        layers: Names of the layers, in order.
        kinds: Kind of each layer, such as ``composition``.
        num_features: Features of each layer that the model saw.
        measured: True where a sample has a layer, ``(sample, layer)``, bool.
        split: Side of each sample, ``(sample,)``: 'train', 'validation' or 'test'; None if
            nobody was held out.
        latent: Latent space, ``(sample, latent)``, finite.
        metrics: Records of the run's ``metrics.jsonl``, one an epoch, in order.
        best_epoch: Epoch whose weights were kept; None: that of the lowest held-out error.
        classification: Held-out classification.
        imputation: Hide-and-score imputation.
        attribution: Feature attributions.
        coverage: Whether intervals of imputed values hold what they promise.
        absent: Why a part is not there, one sentence each, by ``training``, ``latent``,
            ``classification``, ``imputation``, ``coverage`` or ``attribution``.
        config: The resolved configuration, YAML.
        seed: Seed of the run.
        versions: Version of each library that matters, by name.
        commit: Commit of this package, if known.
        notices: What was guessed, left out or put right while reading and preparing.
    """

    cohort: str
    samples: pd.DataFrame
    roles: Roles
    layers: Sequence[str]
    measured: NDArray[np.bool_]
    kinds: Mapping[str, str] = field(default_factory=dict)
    num_features: Mapping[str, int] = field(default_factory=dict)
    split: NDArray[np.str_] | None = None
    latent: NDArray[np.floating[Any]] | None = None
    metrics: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    classification: ClassificationResult | None = None
    imputation: ImputationResult | None = None
    attribution: AttributionResult | None = None
    coverage: CoverageResult | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    notices: Sequence[str] = ()

    @property
    def num_samples(self) -> int:
        """Samples of the cohort."""
        return len(self.samples)

    @property
    def missing_share(self) -> float:
        """Share of the (sample, layer) blocks that were not measured."""
        return float(1 - np.mean(self.measured))

    @property
    def labels(self) -> pd.Series | None:
        """Label of each sample as text, None = unknown; None where there is no label at all."""
        name, column = self.roles.label, self._column(self.roles.label)
        if name is None or column is None:
            return None
        return column.map(lambda value: None if value is None else class_title(name, value))

    @property
    def subjects(self) -> pd.Series | None:
        """Subject of each sample; None where the cohort does not say."""
        return self._column(self.roles.subject)

    @property
    def batches(self) -> pd.Series | None:
        """Site or batch of each sample; None where the cohort does not say."""
        return self._column(self.roles.batch)

    @property
    def unit(self) -> str:
        """What is held out as a whole: 'people', or 'samples' where people are not."""
        return "samples" if self.subjects is None or self.is_shared else "people"

    @property
    def is_shared(self) -> bool:
        """True if some person stands on the training and on the test side."""
        if self.subjects is None or self.split is None:
            return False
        people = {side: set(self.subjects[self.split == side]) for side in ("train", "test")}
        return bool((people["train"] & people["test"]) - {None})

    @property
    def has_repeats(self) -> bool:
        """True if some person gave more than one sample."""
        return self.subjects is not None and bool(self.subjects.dropna().duplicated().any())

    @property
    def kept_epoch(self) -> int | None:
        """Epoch whose weights were kept, as far as it is known."""
        if self.best_epoch is not None:
            return self.best_epoch
        scored = [
            (float(record["validation"]), int(record.get("epoch", place)))
            for place, record in enumerate(self.metrics)
            if record.get("validation") is not None
        ]
        return min(scored)[1] if scored else None

    def _column(self, name: str | None) -> pd.Series | None:
        if name is None or name not in self.samples:
            return None
        column = self.samples[name].astype(object)
        column = column.where(column.notna(), None)
        return None if column.isna().all() else column.map(lambda v: v if v is None else str(v))
