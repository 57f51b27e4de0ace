"""Shuffled batches of a cohort that is held in memory.

Legend of shapes as in `immo_hpc.data.batches.batch`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.data.balance import patterns, random_draws, spread
from immo_hpc.data.batches.batch import Batch, LayerBatch, require_rank, require_start
from immo_hpc.data.batches.places import checked_places, row_of_sample
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer

# Values gathered in one go: enough to make the cost of a batch vanish, little beside a cohort.
_BLOCK_BYTES = 8 * 2**20
# Of the free memory of a GPU, for rows that stay on it.
_DEVICE_SHARE = 0.5


class BatchSource:
    """Shuffled batches of some samples, whose measured rows lie on the device for good.

    Rows that do not fit a GPU stay in memory and are copied a few batches at a time.

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
        rank: int = 0,
        world_size: int = 1,
        balance: Literal["none", "pattern"] = "none",
    ) -> None:
        """Put the measured rows of the chosen samples on the device.

        Args:
            cohort: Where the samples come from.
            index: Places of the samples to draw, ``(sample,)``; None: all.
            batch_size: Samples in a batch of all processes, >= 1; the last batch of an epoch
                may be smaller.
            seed: Seed of the order, 0 to 2**63 - 1.
            device: Where rows and batches lie.
            rank: Number of this process, from 0.
            world_size: Number of processes; each gets every ``world_size``-th sample of a
                batch, together the very batch that one process gets.
            balance: 'pattern': each batch has nearly its share of every missing pattern.

        Raises:
            UsageError: If there is no sample, ``batch_size`` is below 1, or ``rank`` is out of
                range.
        """
        index = checked_places(cohort, index, batch_size)
        require_rank(rank, world_size)
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._device = torch.device(device)
        self._index, self._uid = index, cohort.sample_uid[index]
        measured = cohort.measured()[index]
        self._patterns = patterns(measured) if balance == "pattern" else None
        stays = self._device if _fits(cohort, measured, self._device) else torch.device("cpu")
        self._layers = {
            name: _ResidentLayer(layer, index, len(cohort.samples), self._device, stays)
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

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
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
        require_start(start, self.num_batches, self.num_samples)
        order = self._order(epoch)
        # Every batch has its own samples of this process one after the other.
        place = np.arange(self.num_samples) % self._batch_size
        mine = place % self._world_size == self._rank
        order, place = order[mine], place[mine] // self._world_size
        starts = np.arange(self.num_batches + 1) * self._batch_size
        bounds = np.concatenate(([0], np.cumsum(mine)))[np.minimum(starts, self.num_samples)]
        uid = torch.from_numpy(self._uid[order]).to(self._device)
        plans = {name: layer.plan(order, place, bounds) for name, layer in self._layers.items()}
        for first in range(start, self.num_batches, self._block):
            stop = min(first + self._block, self.num_batches)
            sizes = np.diff(bounds[first : stop + 1]).tolist()
            uids = torch.split(uid[bounds[first] : bounds[stop]], sizes)
            parts = [plan.batches(first, stop) for plan in plans.values()]
            for part in zip(uids, *parts, strict=True):
                yield Batch(part[0], dict(zip(plans, part[1:], strict=True)))

    def dealt(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places in the cohort of all samples in order, and the process that gets each."""
        place = np.arange(self.num_samples) % self._batch_size
        return self._index[self._order(epoch)], place % self._world_size

    def _order(self, epoch: int) -> NDArray[np.int64]:
        draws = random_draws(self._seed, epoch, 2 * self.num_samples)
        return _order(draws, self._patterns)


class _ResidentLayer:
    """The chosen rows of one layer on the device, and which sample each belongs to."""

    def __init__(
        self,
        layer: PreparedLayer,
        index: NDArray[np.int64],
        num_samples: int,
        device: torch.device,
        stays: torch.device,
    ) -> None:
        self._device = device
        row = row_of_sample(layer, index, num_samples)
        held = row >= 0
        self._row_of_sample = np.where(held, np.cumsum(held) - 1, -1)
        chosen = row[held]
        everything = np.array_equal(chosen, np.arange(len(layer.values)))
        # Rows are only ever gathered from here, so the cohort's own memory can serve.
        shared = everything and layer.values.flags.writeable
        self._values = torch.from_numpy(layer.values if shared else layer.values[chosen]).to(stays)
        self.row_bytes = self._values.element_size() * self._values.shape[1]

    def plan(
        self, order: NDArray[np.int64], place: NDArray[np.int64], bounds: NDArray[np.int64]
    ) -> _LayerPlan:
        """Lay out an epoch.

        Args:
            order: The samples in order, ``(sample,)``.
            place: Place of each in its batch, ``(sample,)``.
            bounds: Samples before each batch, one more than there are batches.
        """
        row = self._row_of_sample[order]
        held = np.flatnonzero(row >= 0)
        return _LayerPlan(
            self._values,
            torch.from_numpy(row[held]).to(self._values.device),
            torch.from_numpy(place[held]).to(self._device),
            np.searchsorted(held, bounds),
        )


@dataclass(frozen=True)
class _LayerPlan:
    """One layer of one epoch: where each row comes from and where in its batch it goes.

    Attributes:
        values: All rows of the layer, on the device or in memory.
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
        values = torch.split(self._gathered(self.sources[low:high]), sizes)
        places = torch.split(self.places[low:high], sizes)
        return [LayerBatch(*pair) for pair in zip(values, places, strict=True)]

    def _gathered(self, sources: Tensor) -> Tensor:
        device = self.places.device
        if self.values.device == device:
            return self.values.index_select(0, sources)
        shape = (len(sources), self.values.shape[1])
        staged = torch.empty(shape, dtype=self.values.dtype, pin_memory=device.type == "cuda")
        torch.index_select(self.values, 0, sources, out=staged)
        return staged.to(device, non_blocking=True)


def _order(draws: NDArray[np.uint64], patterns: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Order of an epoch: samples by their draw, or spread by pattern; ``draws`` are two each."""
    draw, jitter = np.split(draws, 2)
    keys = draw if patterns is None else spread(draw, jitter, [patterns])
    return np.argsort(keys, kind="stable")


def _fits(cohort: PreparedCohort, measured: NDArray[np.bool_], device: torch.device) -> bool:
    """Whether the chosen rows may lie on the device and leave it room to train."""
    if device.type != "cuda":
        return True
    widths = [4 * len(layer.features) for layer in cohort.layers.values()]
    size = int((measured @ np.array(widths, dtype=np.int64)).sum())
    free, _ = torch.cuda.mem_get_info(device)
    return size <= _DEVICE_SHARE * free
