"""A cohort in memory: layers as they were measured, and the samples they belong to.

Legend of shapes: ``row`` counts the samples a layer was measured in, ``sample`` all
samples of the cohort, ``feature`` the features of one layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.config import LayerKind
from immo_hpc.data.blocks import on_disk
from immo_hpc.data.matrices import gather
from immo_hpc.data.times import TimeUnit, as_days


@dataclass(frozen=True)
class Layer:
    """One omics table in its original units.

    Attributes:
        name: Name of the layer, such as ``mg``.
        kind: How its values were made; decides the preparation.
        features: Feature names, ``(feature,)``, unique.
        values: Measurements, ``(row, feature)``, float32, original units, NaN = missing.
        rows: Place of each row in the cohort's samples, ``(row,)``, int64, increasing.
        source: File the table came from, for messages.
    """

    name: str
    kind: LayerKind
    features: tuple[str, ...]
    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    source: Path | None = None


@dataclass(frozen=True)
class Roles:
    """Which columns of the sample table mean what.

    Attributes:
        label: Column to classify, if any.
        positive: Label value that counts as 1 when there are two classes, as text.
        subject: Column naming the person a sample was taken from, if any.
        batch: Column of the site or batch, if any.
        covariates: Further columns of interest.
        time: Column saying when a sample was taken, if any: numbers, or ISO dates.
        time_unit: What these numbers count.
    """

    label: str | None = None
    positive: str | None = None
    subject: str | None = None
    batch: str | None = None
    covariates: tuple[str, ...] = ()
    time: str | None = None
    time_unit: TimeUnit = "days"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns with a meaning, each once."""
        named = (self.label, self.subject, self.batch, *self.covariates, self.time)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name; without times, as they were written before there were any."""
        values = asdict(self)
        if self.time is None:
            del values["time"], values["time_unit"]
        return values


@dataclass(frozen=True)
class Cohort:
    """Layers over one common list of samples; no padding anywhere.

    Attributes:
        samples: Sample table, index ``sample_id`` (str, unique), one row a sample that has
            at least one layer. Label, subject and batch columns hold text, None = unknown.
        layers: Layers by name, in the order of ``cohort.yaml`` or of the file names.
        roles: Meaning of the sample table's columns.
        notices: What was guessed, left out or put right while reading, as sentences.
    """

    samples: pd.DataFrame
    layers: Mapping[str, Layer]
    roles: Roles = field(default_factory=Roles)
    notices: tuple[str, ...] = field(default=())

    @property
    def sample_ids(self) -> list[str]:
        """Sample names in order."""
        return [str(name) for name in self.samples.index]

    @property
    def sample_uid(self) -> NDArray[np.int64]:
        """Stable 64-bit identity of each sample, ``(sample,)``, int64 (`sample_uid`)."""
        return sample_uid(self.sample_ids)

    @property
    def labels(self) -> pd.Series | None:
        """Label column as text, None where unknown; None if the cohort has no label."""
        return None if self.roles.label is None else self.samples[self.roles.label]

    @property
    def subjects(self) -> pd.Series:
        """Subject of each sample; each sample is its own subject where none is named."""
        return subjects_of(self.samples, self.roles)

    def measured(self) -> NDArray[np.bool_]:
        """True where a sample has a layer, ``(sample, layer)``, bool."""
        return measured_table(len(self.samples), [layer.rows for layer in self.layers.values()])

    def take(
        self, index: Sequence[int] | NDArray[np.int64], *, scratch: Path | None = None
    ) -> Cohort:
        """The cohort of the samples at ``index``, in that order (rows stay increasing).

        Values on disk are read into memory, or copied into the folder ``scratch`` if given.
        """
        layers = {}
        for name, layer in self.layers.items():
            chosen, rows = taken_rows(layer.rows, index, len(self.samples))
            if on_disk(layer.values):
                values = gather(layer.values, chosen, scratch=scratch)
            else:
                values = layer.values[chosen]
            layers[name] = replace(layer, values=values, rows=rows)
        return replace(self, samples=self.samples.iloc[np.asarray(index)], layers=layers)


def subjects_of(samples: pd.DataFrame, roles: Roles) -> pd.Series:
    """Subject of each sample; each sample is its own subject where no column names one."""
    if roles.subject is None:
        return pd.Series(samples.index, index=samples.index, dtype=object)
    return samples[roles.subject]


def days_of(samples: pd.DataFrame, roles: Roles) -> NDArray[np.float64]:
    """When each sample was taken, ``(sample,)``, days, NaN where unknown (`as_days`)."""
    if roles.time is None:
        return np.full(len(samples), np.nan)
    return as_days(samples[roles.time], roles.time_unit)


def measured_table(num_samples: int, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """True where a sample has a layer, ``(sample, layer)``, from the layers' rows."""
    table = np.zeros((num_samples, len(rows)), dtype=np.bool_)
    for column, places in enumerate(rows):
        table[places, column] = True
    return table


def taken_rows(
    rows: NDArray[np.int64], index: Sequence[int] | NDArray[np.int64], num_samples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of a layer's rows belong to the samples at ``index``, and their new places.

    Args:
        rows: Place of each row in the samples, ``(row,)``.
        index: Places of the samples to take, in their new order.
        num_samples: Samples there are before.

    Returns:
        Rows to take and their places among the samples taken, both ``(taken row,)``, int64,
        in increasing order of the latter.
    """
    index = np.asarray(index, dtype=np.int64)
    if index.size and index[0] >= 0 and (np.diff(index) == 1).all():
        # Neighbours: the work is that of what is taken, whatever the number of samples.
        low, high = np.searchsorted(rows, [index[0], index[-1] + 1])
        return np.arange(low, high), rows[low:high] - index[0]
    place = np.full(num_samples, -1, dtype=np.int64)
    place[index] = np.arange(len(index))
    moved = place[rows]
    held = np.flatnonzero(moved >= 0)
    order = held[np.argsort(moved[held], kind="stable")]
    return order, moved[order]


def sample_uid(sample_ids: Sequence[str]) -> NDArray[np.int64]:
    """Stable 64-bit identity of sample names: the first 8 bytes of BLAKE2b, as int64.

    Args:
        sample_ids: Names, ``(sample,)``.

    Returns:
        Identities, ``(sample,)``, int64 (the bits of an unsigned number).

    Example:
        >>> int(sample_uid(["C3001C1"])[0]) == int(sample_uid(["x", "C3001C1"])[1])
        True
    """
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in sample_ids)
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)
