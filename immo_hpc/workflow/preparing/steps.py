"""The steps from a cohort to shards: split, fit, write; the same for every way to run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.exclude import require_matches
from immo_hpc.data.manifest import write_manifest
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.data.preparation.rows import Reduction, in_memory
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.shards.plan import ROWS_PER_SHARD, DType, ShardPlan, WrittenShard, plan_shards
from immo_hpc.data.shards.write import write_shard
from immo_hpc.data.split import split_notices, split_samples
from immo_hpc.errors import UsageError


@dataclass(frozen=True)
class ShardFormat:
    """How shards are stored.

    Attributes:
        dtype: Type of the values.
        rows_per_shard: Samples in a file.
    """

    dtype: DType = "float32"
    rows_per_shard: int = ROWS_PER_SHARD


def shard_format(dtype: str, rows_per_shard: int) -> ShardFormat:
    """How shards are stored, from what the user says.

    Raises:
        UsageError: For another type than float32 or float16, or no rows.
    """
    for known in get_args(DType):
        if dtype == known and rows_per_shard >= 1:
            return ShardFormat(known, rows_per_shard)
    message = (
        f"--dtype {dtype} --rows-per-shard {rows_per_shard}: expected "
        f"{' or '.join(get_args(DType))} and at least 1 row."
    )
    raise UsageError(message)


@dataclass(frozen=True)
class FittedCohort:
    """A cohort with its split and preparation, of which any shard can be written.

    Attributes:
        cohort: Samples in original units, in memory or on disk.
        split: Side of each sample, ``(sample,)``.
        preparation: Fitted on the training samples.
        plan: The shards to write.
        config: The whole configuration.
        source: Where the cohort came from, in words.
    """

    cohort: Cohort
    split: NDArray[np.str_]
    preparation: Preparation
    plan: ShardPlan
    config: ImmoConfig
    source: str

    def prepared(self, places: NDArray[np.int64]) -> PreparedCohort:
        """The prepared samples at ``places``."""
        return self.preparation.apply(self.cohort.take(places), split=self.split[places])

    def write_shard(self, name: str, folder: Path) -> WrittenShard:
        """Write one of the plan's shards."""
        return write_shard(self.plan, name, folder, self.prepared)

    def write_manifest(self, written: Sequence[WrittenShard], folder: Path) -> None:
        """Write the manifest beside all shards."""
        notices = split_notices(self.cohort.samples, self.cohort.roles, self.config.split)
        manifest = self.plan.manifest(
            written,
            self.preparation,
            config=self.config.model_dump(mode="json", include={"seed", "split", "preparation"}),
            source=self.source,
            notices=(*self.cohort.notices, *notices),
        )
        write_manifest(manifest, folder)


def fit_cohort(
    cohort: Cohort,
    config: ImmoConfig,
    *,
    source: str,
    shards: ShardFormat,
    reduction: Reduction = in_memory,
) -> FittedCohort:
    """Split a cohort and fit its preparation on the training samples.

    Args:
        cohort: Samples in original units, in memory or on disk.
        config: Seed, split and preparation.
        source: Where the cohort came from, in words.
        shards: How shards will be stored.
        reduction: Who computes the statistics of chunks of rows.

    Raises:
        CohortError: If the cohort cannot be split or prepared.
        ShardError: If it cannot be stored.
    """
    features = {name: layer.features for name, layer in cohort.layers.items()}
    require_matches(config.preparation.exclude, features, "preparation.exclude")
    split = split_samples(cohort.samples, cohort.roles, config.split, config.seed)
    train = np.flatnonzero(split == "train")
    preparation = fit_preparation(cohort, train, config.preparation, reduction=reduction)
    plan = plan_shards(
        preparation.outline(cohort, split=split),
        dtype=shards.dtype,
        rows_per_shard=shards.rows_per_shard,
    )
    return FittedCohort(cohort, split, preparation, plan, config, source)
