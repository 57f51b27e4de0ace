"""A cohort ready for the model: z-scores per layer, and how to get back.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Roles, measured_table, sample_uid, subjects_of, taken_rows

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class PreparedLayer:
    """One layer after preparation.

    Attributes:
        name: Name of the layer.
        features: Names of the features that passed the filters, ``(feature,)``.
        values: ``(row, feature)``, float32, z-score units, NaN = missing.
        rows: Place of each row in the samples, ``(row,)``, int64, increasing.
        scale: What the preparation divided each row by, ``(row,)``, float32, original units:
            the row's total (composition), effective library size (counts), 1 otherwise.
            Needed to get back to original units.
    """

    name: str
    features: tuple[str, ...]
    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class PreparedCohort:
    """Prepared layers over one list of samples.

    Attributes:
        samples: Sample table, index ``sample_id``; label, subject, batch and covariate columns.
        layers: Layers by name; every layer of the preparation is there, with no rows if none
            of these samples has it.
        roles: Meaning of the sample table's columns.
        split: Side of each sample, ``(sample,)``: 'train', 'validation' or 'test'; None for
            new samples.
    """

    samples: pd.DataFrame
    layers: Mapping[str, PreparedLayer]
    roles: Roles = field(default_factory=Roles)
    split: NDArray[np.str_] | None = None

    @property
    def sample_ids(self) -> list[str]:
        """Sample names in order."""
        return [str(name) for name in self.samples.index]

    @property
    def sample_uid(self) -> NDArray[np.int64]:
        """Stable identity of each sample, ``(sample,)``, int64."""
        return sample_uid(self.sample_ids)

    @property
    def labels(self) -> pd.Series | None:
        """Label column as text, None where unknown; None if there is no label."""
        return None if self.roles.label is None else self.samples[self.roles.label]

    @property
    def subjects(self) -> pd.Series:
        """Subject of each sample; each sample is its own subject where none is named."""
        return subjects_of(self.samples, self.roles)

    def measured(self) -> NDArray[np.bool_]:
        """True where a sample has a layer, ``(sample, layer)``, bool."""
        return measured_table(len(self.samples), [layer.rows for layer in self.layers.values()])

    def indices(self, *sides: SplitName) -> NDArray[np.int64]:
        """Places of the samples on the given sides of the split, increasing, int64."""
        assert self.split is not None
        return np.flatnonzero(np.isin(self.split, sides)).astype(np.int64)

    def take(self, index: Sequence[int] | NDArray[np.int64]) -> PreparedCohort:
        """The samples at ``index``, in that order."""
        layers = {}
        for name, layer in self.layers.items():
            chosen, rows = taken_rows(layer.rows, index, len(self.samples))
            layers[name] = replace(
                layer, values=layer.values[chosen], rows=rows, scale=layer.scale[chosen]
            )
        index = np.asarray(index, dtype=np.int64)
        split = None if self.split is None else self.split[index]
        return replace(self, samples=self.samples.iloc[index], layers=layers, split=split)

    def without(self, *names: str) -> PreparedCohort:
        """The same samples with the named layers not measured (no rows)."""
        layers = {
            name: replace(
                layer, values=layer.values[:0], rows=layer.rows[:0], scale=layer.scale[:0]
            )
            if name in names
            else layer
            for name, layer in self.layers.items()
        }
        return replace(self, layers=layers)

    def wide(self, names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """The named layers side by side, ``(sample, feature)``, float32, NaN = not measured.

        A padded rectangle for baselines and wide tables; nothing in training uses it.
        """
        chosen = [self.layers[name] for name in (names or self.layers)]
        blocks = []
        for layer in chosen:
            block = np.full((len(self.samples), len(layer.features)), np.nan, dtype=np.float32)
            block[layer.rows] = layer.values
            blocks.append(block)
        return np.concatenate(blocks, axis=1)
