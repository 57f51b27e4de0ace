"""Windows: where each row that is read goes, and the batches that come of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.data.batches import Batch, LayerBatch
from immo_hpc.data.stream.groups import GroupReader
from immo_hpc.data.stream.index import ShardIndex
from immo_hpc.data.stream.memory import Memory
from immo_hpc.data.stream.plan import WindowPlan
from immo_hpc.data.stream.threads import share

_ALIGN = 64
_AHEAD = 2
# One thread copies at less than half the rate at which it reads into a cache, and more than four
# do not copy faster than memory lets them.
_MOST_READERS = 4
# Past the page cache nobody reads ahead: that many requests keep the disk busy, not the processors.
_PAST_CACHE_READERS = 6
# Windows of an epoch differ by less, so that one piece of memory fits them all.
_SLACK = 1.06


class Window:
    """A filled window.

    Args:
        plan: What it holds.
        sample_uid: Identity of each sample of the plan, ``(sample,)``, int64.
        values: Rows by layer, ``(row, feature)``, float32, in the order of the plan.
        held: Place in the plan of each row, by layer, ``(row,)``, int64, increasing.
    """

    def __init__(
        self,
        plan: WindowPlan,
        sample_uid: NDArray[np.int64],
        values: dict[str, NDArray[np.float32]],
        held: dict[str, NDArray[np.int64]],
    ) -> None:
        self.plan = plan
        self._uid, self._values, self._held = sample_uid, values, held

    @property
    def num_batches(self) -> int:
        """Batches it completes; what is left is carried over to the next window."""
        return len(self.plan.bounds) - 1

    def left(self, layer: str) -> NDArray[np.float32]:
        """Rows of a layer that belong to no complete batch."""
        first = np.searchsorted(self._held[layer], self.plan.bounds[-1])
        return self._values[layer][first:]

    def batches(self) -> Iterator[Batch]:
        """The complete batches: views of the window's memory."""
        bounds = self.plan.bounds
        uid = torch.from_numpy(self._uid)
        values = {name: torch.from_numpy(rows) for name, rows in self._values.items()}
        cuts = {name: np.searchsorted(held, bounds) for name, held in self._held.items()}
        for place in range(self.num_batches):
            low, high = bounds[place : place + 2]
            layers = {}
            for name, held in self._held.items():
                first, last = cuts[name][place : place + 2]
                rows = torch.from_numpy(held[first:last] - low)
                layers[name] = LayerBatch(values[name][first:last], rows)
            yield Batch(uid[low:high], layers)


class WindowFiller:
    """Reads the rows of windows from shards to where their batches want them.

    As many threads read as this process has processors, up to four; six past the page cache. What
    they read does not depend on their number, since every row has its place.

    Args:
        index: The opened shards.
        reader: Reads their row groups; other threads have twins of it.
        memory: Where windows lie.
    """

    def __init__(self, index: ShardIndex, reader: GroupReader, memory: Memory) -> None:
        self._index, self._memory = index, memory
        number = min(_MOST_READERS, len(os.sched_getaffinity(0)))
        if reader.past_cache:
            number = _PAST_CACHE_READERS
        self._readers = [reader, *(reader.twin() for _ in range(1, number))]
        self._measured = dict(zip(index.layers, index.measured().T, strict=True))
        self._row = {name: np.cumsum(held) - 1 for name, held in self._measured.items()}
        self._first_row = {
            name: np.searchsorted(layer.rows, index.first_samples)
            for name, layer in index.layers.items()
        }

    def windows(
        self, plans: Sequence[WindowPlan], is_stopped: Callable[[], bool]
    ) -> Iterator[Window]:
        """The windows of an epoch; ``is_stopped`` is asked before each row group."""
        held = [self._held(plan) for plan in plans]
        capacity = int(_SLACK * max(map(self._size, held), default=0))
        before: Window | None = None
        with ExitStack() as opened:
            for reader in self._readers:
                opened.enter_context(reader)
            for plan, rows in zip(plans, held, strict=True):
                values = self._allocate(rows, capacity)
                if before is not None:
                    _carry_over(before, values)
                before = None
                self._fill(plan, rows, values, is_stopped)
                if is_stopped():
                    return
                before = Window(plan, self._index.sample_uid[plan.places], values, rows)
                del values
                yield before

    def _held(self, plan: WindowPlan) -> dict[str, NDArray[np.int64]]:
        return {
            name: np.flatnonzero(measured[plan.places]) for name, measured in self._measured.items()
        }

    def _size(self, held: dict[str, NDArray[np.int64]]) -> int:
        return sum(self._layer_size(name, len(rows)) for name, rows in held.items())

    def _layer_size(self, name: str, num_rows: int) -> int:
        size = 4 * num_rows * len(self._index.layers[name].features)
        return -(-size // _ALIGN) * _ALIGN

    def _allocate(
        self, held: dict[str, NDArray[np.int64]], capacity: int
    ) -> dict[str, NDArray[np.float32]]:
        memory = self._memory.take(self._size(held), capacity)
        values, start = {}, 0
        for name, rows in held.items():
            shape = (len(rows), len(self._index.layers[name].features))
            part = memory[start : start + 4 * shape[0] * shape[1]]
            values[name] = part.view(np.float32).reshape(shape)
            start += self._layer_size(name, len(rows))
        return values

    def _fill(
        self,
        plan: WindowPlan,
        held: dict[str, NDArray[np.int64]],
        values: dict[str, NDArray[np.float32]],
        is_stopped: Callable[[], bool],
    ) -> None:
        """Read what was not carried over, in the order of the files, unless stopped."""
        tasks = [
            (group, name, rows, places)
            for name in values
            for group, rows, places in self._tasks(name, plan, held[name])
        ]
        tasks.sort(key=lambda task: task[0])
        ahead = _AHEAD * len(values)
        groups = self._index.groups

        def read(number: int, reader: GroupReader) -> None:
            group, name, rows, places = tasks[number]
            expected = tasks[min(number + ahead, len(tasks) - 1)][0]
            if expected != group:
                reader.expect(groups[expected])
            reader.read_into(groups[group], name, rows, values[name], places)

        share(len(tasks), read, self._readers, is_stopped)

    def _tasks(
        self, name: str, plan: WindowPlan, held: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """By row group: which of its rows of a layer to read, and their places in the window."""
        first = int(np.searchsorted(held, plan.carried))
        samples = plan.places[held[first:]]
        order = np.argsort(samples)
        samples, places = samples[order], order + first
        group = np.searchsorted(self._index.first_samples, samples, side="right") - 1
        rows = self._row[name][samples] - self._first_row[name][group]
        cuts = np.flatnonzero(np.diff(group)) + 1
        for low, high in zip([0, *cuts], [*cuts, len(group)], strict=True):
            if high > low:
                yield int(group[low]), rows[low:high], places[low:high]


def _carry_over(before: Window, values: dict[str, NDArray[np.float32]]) -> None:
    """Copy what the window before left to the start of the next one."""
    for name, layer in values.items():
        left = before.left(name)
        layer[: len(left)] = left
