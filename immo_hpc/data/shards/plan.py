"""What all shards of a set have in common: their columns, their names, and the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from immo_hpc._version import __version__
from immo_hpc.data.cohort import Roles
from immo_hpc.data.manifest import Manifest, Pattern, ShardFile
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.shards import schema
from immo_hpc.errors import ShardError

DType = Literal["float32", "float16"]
ROWS_PER_SHARD = 4096


@dataclass(frozen=True)
class ShardPlan:
    """What all shards of a set have in common; each can then be written on its own.

    Attributes:
        features: Feature names by layer, in order.
        roles: Meaning of the sample table's columns.
        samples: All columns but those of the layers, of all samples.
        columns: Arrow type, as text, of each column of the sample table.
        splits: Samples on each side of the split; empty if there is none.
        dtype: Type of the stored values.
        rows_per_shard: Samples in a file.
        prefix: What the names of the files begin with.
    """

    features: Mapping[str, tuple[str, ...]]
    roles: Roles
    samples: pa.Table
    columns: Mapping[str, str]
    splits: Mapping[str, int]
    dtype: DType
    rows_per_shard: int
    prefix: str = ""

    @property
    def names(self) -> list[str]:
        """File names of the shards, in the order of their samples."""
        return [
            f"{self.prefix}{number:05d}.parquet"
            for number in range(-(-self.samples.num_rows // self.rows_per_shard))
        ]

    def manifest(
        self,
        written: Sequence[WrittenShard],
        preparation: Preparation,
        *,
        config: Mapping[str, Any] | None = None,
        source: str | None = None,
        notices: Sequence[str] = (),
    ) -> Manifest:
        """The manifest of the set once all its shards are written, in their order."""
        return Manifest(
            features=self.features,
            dtype=self.dtype,
            columns=self.columns,
            roles=self.roles,
            shards=tuple(shard.file for shard in written),
            patterns=merged_patterns([shard.patterns for shard in written]),
            splits=self.splits,
            preparation=preparation.to_dict(),
            config=config or {},
            source=source,
            notices=tuple(notices),
            created_by={"immo-hpc": __version__, "pyarrow": pa.__version__},
        )


@dataclass(frozen=True)
class WrittenShard:
    """One shard that was written.

    Attributes:
        file: Its name, size and checksum.
        patterns: How many of its samples have exactly which layers.
    """

    file: ShardFile
    patterns: tuple[Pattern, ...]


def plan_shards(
    cohort: PreparedCohort, *, dtype: DType = "float32", rows_per_shard: int = ROWS_PER_SHARD
) -> ShardPlan:
    """Check what all shards have in common and make the columns about the samples.

    Args:
        cohort: Samples and layers; rows of layers are not looked at.
        dtype: Type of the stored values.
        rows_per_shard: Samples in a file, >= 1.

    Raises:
        ShardError: As `write_shards`, but for values.
    """
    if rows_per_shard < 1:
        message = f"rows_per_shard: expected at least 1, found {rows_per_shard}."
        raise ShardError(message)
    _require_writable(cohort)
    samples, columns = _sample_table(cohort)
    return ShardPlan(
        features={name: layer.features for name, layer in cohort.layers.items()},
        roles=cohort.roles,
        samples=samples,
        columns=columns,
        splits={} if cohort.split is None else _counts(cohort.split),
        dtype=dtype,
        rows_per_shard=rows_per_shard,
    )


def patterns_of(cohort: PreparedCohort) -> tuple[Pattern, ...]:
    """How many samples have exactly which layers."""
    return patterns_in(cohort.measured(), list(cohort.layers))


def patterns_in(measured: NDArray[np.bool_], names: Sequence[str]) -> tuple[Pattern, ...]:
    """How many samples have exactly which layers, from ``(sample, layer)``, True = measured."""
    tables, counts = np.unique(measured, axis=0, return_counts=True)
    return tuple(
        Pattern(tuple(name for name, held in zip(names, row, strict=True) if held), int(count))
        for row, count in zip(tables, counts, strict=True)
    )


def merged_patterns(parts: Iterable[Iterable[Pattern]]) -> tuple[Pattern, ...]:
    """The patterns of several lots of samples as one, largest first."""
    samples: Counter[tuple[str, ...]] = Counter()
    for part in parts:
        samples.update({pattern.layers: pattern.samples for pattern in part})
    patterns = (Pattern(layers, count) for layers, count in samples.items())
    return tuple(sorted(patterns, key=lambda pattern: (-pattern.samples, pattern.layers)))


def _require_writable(cohort: PreparedCohort) -> None:
    if not len(cohort.samples) or not cohort.layers:
        message = (
            f"expected at least one sample and one layer to write, found {len(cohort.samples)} "
            f"samples and {len(cohort.layers)} layers; check what the cohort was filtered by."
        )
        raise ShardError(message)
    for name, layer in cohort.layers.items():
        if not layer.features or len(set(layer.features)) < len(layer.features):
            found = "a name that occurs twice" if layer.features else "none"
            message = (
                f"layer '{name}': expected one or more features of different names, found "
                f"{found}; leave the layer out, or loosen the preparation's filters."
            )
            raise ShardError(message)
    if pair := schema.repeated_identity(cohort.sample_uid):
        one, other = (cohort.sample_ids[place] for place in pair)
        message = (
            f"samples {pair[0]} ('{one}') and {pair[1]} ('{other}'): expected different "
            "sample_uid, found the same one; every sample needs its own id: rename one of them."
        )
        raise ShardError(message)


def _sample_table(cohort: PreparedCohort) -> tuple[pa.Table, dict[str, str]]:
    """Columns about the samples, and the Arrow types of those of the sample table."""
    split = [None] * len(cohort.samples) if cohort.split is None else cohort.split.tolist()
    identity = (cohort.sample_ids, cohort.sample_uid, split)
    fields = schema.identity_fields()
    columns = {
        name: pa.array(values, kind)
        for (name, kind), values in zip(fields.items(), identity, strict=True)
    }
    observed = schema.samples_to_arrow(cohort.samples)
    columns |= {schema.sample_column(name): array for name, array in observed.items()}
    return pa.table(columns), {name: str(array.type) for name, array in observed.items()}


def _counts(split: NDArray[np.str_]) -> dict[str, int]:
    names, counts = np.unique(split, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
