"""What is in a folder of shards and where, without the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Roles, measured_table, subjects_of
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import SplitName
from immo_hpc.data.shards import layout


@dataclass(frozen=True)
class StoredLayer:
    """One layer of the shards without its values.

    Attributes:
        name: Name of the layer.
        features: Names of the features, ``(feature,)``.
        rows: Place of each measured row in the samples, ``(row,)``, int64, increasing.
        scale: What the preparation divided each row by, ``(row,)``, float32.
    """

    name: str
    features: tuple[str, ...]
    rows: NDArray[np.int64]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class RowGroup:
    """One row group of one shard: the unit that is read.

    Attributes:
        path: The shard.
        number: Place of the row group in it.
        first: Place of its first sample among all samples.
        num_samples: Samples in it.
        num_rows: Measured rows by layer.
        chunks: Where the values are, by layer.
    """

    path: Path
    number: int
    first: int
    num_samples: int
    num_rows: Mapping[str, int]
    chunks: Mapping[str, layout.ValuesChunk]


@dataclass(frozen=True)
class ShardIndex:
    """A folder of shards, opened: all that is known without reading a value.

    Attributes:
        folder: The folder.
        manifest: Its manifest.
        preparation: What made the values, and gets them back to original units.
        samples: Sample table, index ``sample_id``, in the order of the shards.
        sample_uid: Stable identity of each sample, ``(sample,)``, int64.
        split: Side of each sample, ``(sample,)``; None if the cohort was not split.
        layers: Layers by name.
        groups: All row groups, in the order of the samples.
    """

    folder: Path
    manifest: Manifest
    preparation: Preparation
    samples: pd.DataFrame
    sample_uid: NDArray[np.int64]
    split: NDArray[np.str_] | None
    layers: Mapping[str, StoredLayer]
    groups: tuple[RowGroup, ...]

    @property
    def roles(self) -> Roles:
        """Meaning of the sample table's columns."""
        return self.manifest.roles

    @property
    def sample_ids(self) -> list[str]:
        """Sample names in order."""
        return [str(name) for name in self.samples.index]

    @property
    def labels(self) -> pd.Series | None:
        """Label column as text, None where unknown; None if there is no label."""
        return None if self.roles.label is None else self.samples[self.roles.label]

    @property
    def subjects(self) -> pd.Series:
        """Subject of each sample; each sample is its own subject where none is named."""
        return subjects_of(self.samples, self.roles)

    @property
    def value_bytes(self) -> int:
        """Bytes of all measured values as float32."""
        return sum(4 * len(layer.rows) * len(layer.features) for layer in self.layers.values())

    @cached_property
    def first_samples(self) -> NDArray[np.int64]:
        """Place of the first sample of each row group, ``(group,)``."""
        return np.array([group.first for group in self.groups], dtype=np.int64)

    @cached_property
    def sample_bytes(self) -> NDArray[np.int64]:
        """Bytes of each sample's measured values as float32, ``(sample,)``."""
        widths = [4 * len(layer.features) for layer in self.layers.values()]
        return self.measured().astype(np.int64) @ np.array(widths, dtype=np.int64)

    def measured(self) -> NDArray[np.bool_]:
        """True where a sample has a layer, ``(sample, layer)``, bool."""
        return measured_table(len(self.samples), [layer.rows for layer in self.layers.values()])

    def indices(self, *sides: SplitName) -> NDArray[np.int64]:
        """Places of the samples on the given sides of the split, increasing, int64."""
        assert self.split is not None
        return np.flatnonzero(np.isin(self.split, sides)).astype(np.int64)
