"""Shuffled batches from shards, with a window of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.data.balance import patterns
from immo_hpc.data.batches.batch import Batch, require_batches, require_rank, require_start
from immo_hpc.data.stream.assembly import Assembled, Assembler
from immo_hpc.data.stream.background import Background
from immo_hpc.data.stream.cache import goes_past_cache
from immo_hpc.data.stream.groups import GroupReader
from immo_hpc.data.stream.index import ShardIndex
from immo_hpc.data.stream.order import LANES, StreamOrder, stream_order
from immo_hpc.data.stream.plan import plan_epoch
from immo_hpc.errors import UsageError

# One window is used while the other is brought in.
_WINDOWS = 2
# Batches are put together so many bytes at once, as far as windows are many times as large.
_STRETCH_BYTES = 32 * 2**20
_STRETCH_SHARE = 1 / 8


class StreamSource:
    """Shuffled batches of some samples, read from their shards while they are used.

    As `BatchSource`, for cohorts larger than memory: row groups come in random order, and as
    many as fit half of ``memory_bytes`` are shuffled together while others are brought in by
    threads. Values that the system's page cache holds are used where they are; what is not
    stored as it is used, or read past the cache, takes memory of this process. The order of an
    epoch is a pure function of seed, epoch, samples, batch size and ``memory_bytes``, so training
    can go on at any batch of any epoch, and on any number of processes: each reads row groups of
    its own, and together their parts of a batch are the very batch that one process gets.

    Args:
        index: The opened shards.
        places: Places of the samples to draw, ``(sample,)``; None: all.
        batch_size: Samples in a batch of all processes, >= 1; the last may be smaller.
        seed: Seed of the order, 0 to 2**63 - 1.
        memory_bytes: Memory of all processes' windows together. A window holds at least one
            row group and one batch.
        device: Where batches lie. For a GPU, they are put together in page-locked memory and
            copied from it in the background.
        rank: Number of this process, from 0.
        world_size: Number of processes, at most `LANES`.
        balance: 'pattern': each batch has nearly its window's share of every missing pattern.

    Raises:
        UsageError: If there is no sample, a sample comes twice, or a number is out of range.
    """

    def __init__(
        self,
        index: ShardIndex,
        places: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        batch_size: int,
        seed: int,
        memory_bytes: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        balance: Literal["none", "pattern"] = "none",
    ) -> None:
        num_samples = len(index.samples)
        chosen = np.arange(num_samples) if places is None else np.sort(np.asarray(places))
        require_batches(len(chosen), batch_size)
        require_rank(rank, world_size)
        if world_size > LANES:
            message = f"expected at most {LANES} processes on one stream, found {world_size}."
            raise UsageError(message)
        if len(np.unique(chosen)) < len(chosen):
            message = "a sample is named twice; expected every sample at most once."
            raise UsageError(message)
        self._index, self._chosen = index, chosen.astype(np.int64)
        self._batch_size, self._seed, self._device = batch_size, seed, torch.device(device)
        self._rank, self._world_size = rank, world_size
        self._groups = np.searchsorted(index.first_samples, self._chosen, side="right") - 1
        self._bytes = index.sample_bytes[self._chosen]
        self._patterns = patterns(index.measured()[self._chosen]) if balance == "pattern" else None
        batch_bytes = batch_size * int(self._bytes.max())
        self.window_bytes = max(memory_bytes // _WINDOWS - batch_bytes, 1)
        item_bytes = np.dtype(index.manifest.dtype).itemsize
        self._reader = GroupReader(
            index, past_cache=goes_past_cache(index.value_bytes // 4 * item_bytes)
        )
        self._assembler = Assembler(index, self._reader, pin=self._device.type == "cuda")
        at_once = min(_STRETCH_BYTES, int(_STRETCH_SHARE * self.window_bytes))
        self._batches_at_once = max(1, at_once // max(1, batch_bytes))

    @property
    def past_cache(self) -> bool:
        """Whether shards are read past the system's page cache, as far as is known."""
        return self._reader.past_cache

    @property
    def num_samples(self) -> int:
        """Samples in an epoch, over all processes."""
        return len(self._chosen)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.num_samples // self._batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Every sample once, shuffled, from batch ``start`` of the epoch on.

        Only what these batches need is read. A reading thread lives until the iterator is
        used up or closed; a batch may be kept for as long as one likes.

        Args:
            epoch: Number of the epoch, >= 0; with the seed it fixes the order.
            start: First batch to give, 0 to `num_batches`.

        Yields:
            Batches of ``batch_size`` samples, of which this process has its part; it may be
            empty. The last one holds what is left.

        Raises:
            UsageError: If ``start`` is out of range.
            ShardError: If a shard cannot be read or is damaged; it names shard, row group and
                column.
        """
        require_start(start, self.num_batches, self.num_samples)
        try:
            with Background(lambda stop: self._assembled(epoch, start, stop)) as assembled:
                yield from self._batches(assembled)
        finally:
            if self._device.type == "cuda":
                # Copies may still run, and the next epoch uses the same memory.
                torch.cuda.current_stream(self._device).synchronize()

    def _batches(self, assembled: Background[Assembled]) -> Iterator[Batch]:
        before: _Used | None = None
        for stretch in assembled:
            used = _Used(stretch)
            del stretch
            is_first = True
            for batch in used.batches(self._device):
                yield batch
                del batch
                # Only now has the caller let go of the last batch of the stretch before.
                if is_first:
                    is_first = False
                    if before is not None:
                        before.wait()
                        before = None
                    assembled.release()
            before = used
            del used

    def _assembled(
        self, epoch: int, start: int, is_stopped: Callable[[], bool]
    ) -> Iterator[Assembled]:
        plan = plan_epoch(
            self._order(epoch),
            batch_size=self._batch_size,
            start=start,
            rank=self._rank,
            world_size=self._world_size,
            batches_at_once=self._batches_at_once,
        )
        if plan.stretches:
            yield from self._assembler.assembled(plan, is_stopped)

    def dealt(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places in the shards of all samples in order, and the process that gets each."""
        order = self._order(epoch)
        return order.places, order.lanes % self._world_size

    def _order(self, epoch: int) -> StreamOrder:
        order = stream_order(
            self._groups,
            self._bytes,
            seed=self._seed,
            epoch=epoch,
            window_bytes=self.window_bytes,
            patterns=self._patterns,
        )
        return replace(order, places=self._chosen[order.places])


class _Used:
    """Batches that are handed out, and copied to a GPU in the background."""

    def __init__(self, assembled: Assembled) -> None:
        self._assembled: Assembled | None = assembled
        self._copied: torch.cuda.Event | None = None

    def batches(self, device: torch.device) -> Iterator[Batch]:
        assert self._assembled is not None
        for batch in self._assembled.batches():
            if device.type != "cuda":
                yield batch
                continue
            there = batch.to(device, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call] # torch's
            self._copied.record(torch.cuda.current_stream(device))
            yield there

    def wait(self) -> None:
        """Until the copies are done, before the memory is used again."""
        if self._copied is not None:
            self._copied.synchronize()
        self._assembled = None
