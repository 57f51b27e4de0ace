"""Batches of samples for the model: per layer the measured rows, never a padded rectangle.

Legend of shapes: ``sample`` counts the samples of a batch, ``row`` those of them in
which a layer was measured, ``feature`` the features of that layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.errors import UsageError

# Values gathered in one go: enough to make the cost of a batch vanish, little beside a cohort.
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class LayerBatch:
    """The measured rows of one layer in a batch.

    Attributes:
        values: ``(row, feature)``, float32, z-score units, NaN = missing.
        rows: Place of each row in the batch, ``(row,)``, int64, increasing.
    """

    values: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples with every layer of the cohort; a layer none of them has has no rows.

    Attributes:
        sample_uid: Stable identity of each sample, ``(sample,)``, int64.
        layers: Layers by name, in the order of the cohort.
    """

    sample_uid: Tensor
    layers: Mapping[str, LayerBatch]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.sample_uid)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on ``device``; nothing is copied if it is there already."""
        layers = {
            name: LayerBatch(layer.values.to(device), layer.rows.to(device))
            for name, layer in self.layers.items()
        }
        return Batch(self.sample_uid.to(device), layers)


class BatchSource:
    """Shuffled batches of some samples, whose measured rows lie on the device for good.

    The order of an epoch is a pure function of the seed and the epoch, so training can go
    on at any batch of any epoch. All index arithmetic is done on the CPU once an epoch;
    a batch itself is a few views of rows gathered for many batches at a time, and never
    makes the device wait.

    Example:
        >>> from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
        >>> import pandas as pd
        >>> layer = PreparedLayer(
        ...     "mg", ("a",), np.ones((2, 1), np.float32), np.array([0, 2]), np.ones(2, np.float32)
        ... )
        >>> cohort = PreparedCohort(pd.DataFrame(index=["s1", "s2", "s3"]), {"mg": layer})
        >>> source = BatchSource(cohort, batch_size=2, seed=0)
        >>> [batch.size for batch in source.epoch(0)]
        [2, 1]
        >>> sum(len(batch.layers["mg"].rows) for batch in source.epoch(0))
        2
    """

    def __init__(
        self,
        cohort: PreparedCohort,
        index: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Put the measured rows of the chosen samples on the device.

        Args:
            cohort: Where the samples come from.
            index: Places of the samples to draw, ``(sample,)``; None: all.
            batch_size: Samples in a batch, >= 1; the last batch of an epoch may be smaller.
            seed: Seed of the order, 0 to 2**63 - 1.
            device: Where rows and batches lie.

        Raises:
            UsageError: If there is no sample, or ``batch_size`` is below 1.
        """
        index = _checked(cohort, index, batch_size)
        self._batch_size = batch_size
        self._seed = seed
        self._device = torch.device(device)
        self._uid = cohort.sample_uid[index]
        self._layers = {
            name: _ResidentLayer(layer, index, len(cohort.samples), self._device)
            for name, layer in cohort.layers.items()
        }
        row_bytes = sum(layer.row_bytes for layer in self._layers.values())
        self._block = max(1, _BLOCK_BYTES // max(1, row_bytes * batch_size))

    @property
    def num_samples(self) -> int:
        """Samples in an epoch."""
        return len(self._uid)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.num_samples // self._batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Every sample once, shuffled, from batch ``start`` of the epoch on.

        Args:
            epoch: Number of the epoch, >= 0; with the seed it fixes the order.
            start: First batch to give, 0 to `num_batches`; the batches are those that
                an epoch begun at 0 gives from there on.

        Yields:
            Batches of ``batch_size`` samples; the last one holds what is left.

        Raises:
            UsageError: If ``start`` is out of range.
        """
        if not 0 <= start <= self.num_batches:
            message = (
                f"batch {start} to start at: expected 0 to {self.num_batches}, the batches of "
                f"{self.num_samples} samples; the run belongs to other data or another batch size."
            )
            raise UsageError(message)
        order = _order(self.num_samples, self._seed, epoch)
        uid = torch.from_numpy(self._uid[order]).to(self._device)
        plans = {name: layer.plan(order, self._batch_size) for name, layer in self._layers.items()}
        for first in range(start, self.num_batches, self._block):
            stop = min(first + self._block, self.num_batches)
            here = slice(first * self._batch_size, stop * self._batch_size)
            uids = torch.split(uid[here], self._batch_size)
            parts = [plan.batches(first, stop) for plan in plans.values()]
            for part in zip(uids, *parts, strict=True):
                yield Batch(part[0], dict(zip(plans, part[1:], strict=True)))


def whole(
    cohort: PreparedCohort,
    index: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """The samples in order, once, for inference; only one batch at a time is on the device.

    Args:
        cohort: Where the samples come from.
        index: Places of the samples, ``(sample,)``, in the order to give; None: all.
        batch_size: Samples in a batch, >= 1.
        device: Where the batches lie.

    Yields:
        Batches of ``batch_size`` samples; the last one holds what is left.

    Raises:
        UsageError: If there is no sample, or ``batch_size`` is below 1.
    """
    index = _checked(cohort, index, batch_size)
    uid = cohort.sample_uid[index]
    places = {
        name: _row_of_sample(layer, index, len(cohort.samples))
        for name, layer in cohort.layers.items()
    }
    for first in range(0, len(index), batch_size):
        layers = {}
        for name, layer in cohort.layers.items():
            row = places[name][first : first + batch_size]
            held = np.flatnonzero(row >= 0)
            layers[name] = LayerBatch(
                torch.from_numpy(layer.values[row[held]]), torch.from_numpy(held)
            )
        yield Batch(torch.from_numpy(uid[first : first + batch_size]), layers).to(device)


class _ResidentLayer:
    """The chosen rows of one layer on the device, and which sample each belongs to."""

    def __init__(
        self,
        layer: PreparedLayer,
        index: NDArray[np.int64],
        num_samples: int,
        device: torch.device,
    ) -> None:
        row = _row_of_sample(layer, index, num_samples)
        held = row >= 0
        self._row_of_sample = np.where(held, np.cumsum(held) - 1, -1)
        chosen = row[held]
        everything = np.array_equal(chosen, np.arange(len(layer.values)))
        # Rows are only ever gathered from here, so the cohort's own memory can serve.
        shared = everything and layer.values.flags.writeable
        self._values = torch.from_numpy(layer.values if shared else layer.values[chosen]).to(device)
        self.row_bytes = self._values.element_size() * self._values.shape[1]

    def plan(self, order: NDArray[np.int64], batch_size: int) -> _LayerPlan:
        """Lay out an epoch whose samples come in the given order."""
        row = self._row_of_sample[order]
        held = np.flatnonzero(row >= 0)
        bounds = np.searchsorted(held, np.arange(0, len(order) + batch_size, batch_size))
        device = self._values.device
        return _LayerPlan(
            self._values,
            torch.from_numpy(row[held]).to(device),
            torch.from_numpy(held % batch_size).to(device),
            bounds,
        )


@dataclass(frozen=True)
class _LayerPlan:
    """One layer of one epoch: where each row comes from and where in its batch it goes.

    Attributes:
        values: All rows of the layer on the device.
        sources: Row of ``values`` for each measured sample of the epoch, in its order.
        places: Place of each of them in its batch.
        bounds: Measured samples before each batch, one more than there are batches.
    """

    values: Tensor
    sources: Tensor
    places: Tensor
    bounds: NDArray[np.int64]

    def batches(self, first: int, stop: int) -> list[LayerBatch]:
        """The batches from ``first`` up to ``stop``, gathered at once and cut into views."""
        low, high = self.bounds[first], self.bounds[stop]
        sizes = np.diff(self.bounds[first : stop + 1]).tolist()
        values = torch.split(self.values.index_select(0, self.sources[low:high]), sizes)
        places = torch.split(self.places[low:high], sizes)
        return [LayerBatch(*pair) for pair in zip(values, places, strict=True)]


def _checked(
    cohort: PreparedCohort, index: Sequence[int] | NDArray[np.int64] | None, batch_size: int
) -> NDArray[np.int64]:
    chosen = np.arange(len(cohort.samples)) if index is None else np.asarray(index, dtype=np.int64)
    if batch_size < 1 or not len(chosen):
        message = (
            f"expected at least one sample and a batch size of at least 1, "
            f"found {len(chosen)} samples and batch size {batch_size}."
        )
        raise UsageError(message)
    return chosen


def _row_of_sample(
    layer: PreparedLayer, index: NDArray[np.int64], num_samples: int
) -> NDArray[np.int64]:
    """Row of ``layer`` that holds each sample of ``index``, ``(sample,)``; -1: not measured."""
    row = np.full(num_samples, -1, dtype=np.int64)
    row[layer.rows] = np.arange(len(layer.rows))
    return row[index]


def _order(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of an epoch: samples by their raw Philox draw, keyed by seed and epoch.

    Raw draws are the part of NumPy's random numbers that stays the same over its
    versions; ``Generator.permutation`` is not promised to.
    """
    draws = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(num_samples)
    return np.argsort(draws, kind="stable")
