"""Batches put together from the rows of windows, while the next window is brought in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.data.batches import Batch, LayerBatch
from immo_hpc.data.stream.gather import gather_rows, prepare_gathering
from immo_hpc.data.stream.groups import GroupReader
from immo_hpc.data.stream.index import ShardIndex
from immo_hpc.data.stream.memory import Memory, matrices_bytes
from immo_hpc.data.stream.plan import EpochPlan, Stretch
from immo_hpc.data.stream.threads import Crew, Task, wait
from immo_hpc.data.stream.windows import Rows, Window

# So many requests keep a disk busy, and more than four threads do not copy faster than memory lets
# them. Past the page cache nobody reads ahead.
_READERS, _PAST_CACHE_READERS = 4, 6
# What one thread copies at once, and the most row groups it brings in: with smaller tasks threads
# wait for the interpreter's lock.
_PART_BYTES, _PART_GROUPS = 16 * 2**20, 4


class Assembled:
    """Batches that were put together at once, in one piece of memory.

    Args:
        stretch: What was planned.
        sample_uid: Identity of each sample of the stretch, ``(sample,)``, int64.
        values: Rows by layer, ``(row, feature)``, float32, in the order of the stretch.
        held: Place in the stretch of each row, by layer, ``(row,)``, int64, increasing.
    """

    def __init__(
        self,
        stretch: Stretch,
        sample_uid: NDArray[np.int64],
        values: Mapping[str, NDArray[np.float32]],
        held: Mapping[str, NDArray[np.int64]],
    ) -> None:
        self._bounds, self._uid, self._values, self._held = stretch.bounds, sample_uid, values, held

    def batches(self) -> Iterator[Batch]:
        """The batches: views of the memory."""
        bounds = self._bounds
        uid = torch.from_numpy(self._uid)
        values = {name: torch.from_numpy(rows) for name, rows in self._values.items()}
        cuts = {name: np.searchsorted(held, bounds) for name, held in self._held.items()}
        for place in range(len(bounds) - 1):
            low, high = bounds[place : place + 2]
            layers = {}
            for name, held in self._held.items():
                first, last = cuts[name][place : place + 2]
                rows = torch.from_numpy(held[first:last] - low)
                layers[name] = LayerBatch(values[name][first:last], rows)
            yield Batch(uid[low:high], layers)


class Assembler:
    """Brings in windows and puts batches together from them.

    Four threads work on it, six past the page cache. The batches do not depend on their number,
    since every row has its place.

    Args:
        index: The opened shards.
        reader: Finds their row groups; other threads have twins of it.
        pin: Put batches into page-locked memory.
    """

    def __init__(self, index: ShardIndex, reader: GroupReader, *, pin: bool) -> None:
        self._index = index
        prepare_gathering()
        number = _PAST_CACHE_READERS if reader.past_cache else _READERS
        self._readers = [reader, *(reader.twin() for _ in range(1, number))]
        self._rows = Rows(index)
        self._for_windows, self._for_batches = Memory(pin=False), Memory(pin=pin)

    def assembled(self, plan: EpochPlan, is_stopped: Callable[[], bool]) -> Iterator[Assembled]:
        """The batches of an epoch; ``is_stopped`` is asked before each row group."""
        self._for_windows.expect(max(map(self._bytes, plan.windows), default=0))
        self._for_batches.expect(max(self._bytes(each.places) for each in plan.stretches))
        with ExitStack() as opened:
            for reader in self._readers:
                opened.enter_context(reader)
            crew = opened.enter_context(Crew(self._readers))
            loading = _Loading(plan, self._rows, self._for_windows, crew, is_stopped)
            # One stretch is being copied while the next one is planned.
            before: tuple[Assembled, list[Future[None]]] | None = None
            for stretch in plan.stretches:
                if before is not None and not loading.has_begun(stretch):
                    # Windows hardly larger than a batch: one before would be a third.
                    wait(before[1])
                    loading.let_go(stretch.first)
                windows = loading.require(stretch)
                if is_stopped():
                    return
                assembled, copies = self._assemble(stretch, windows)
                given = crew.give(copies)
                if before is not None:
                    wait(before[1])
                # Not sooner: what is looked at after it was let go of comes back for good.
                loading.let_go(stretch.first)
                loading.go_on(stretch)
                if before is not None:
                    yield before[0]
                before = assembled, given
                # So that memory is free once whoever gets the batches has let go of them.
                del assembled, copies, given
            if before is not None:
                wait(before[1])
                yield before[0]

    def _assemble(
        self, stretch: Stretch, windows: Mapping[int, Window]
    ) -> tuple[Assembled, list[Task[GroupReader]]]:
        """Memory of a stretch, and the copies that fill it."""
        held = self._held(stretch.places)
        values = self._for_batches.matrices(self._shapes(held))
        copies: list[Task[GroupReader]] = []
        for name, rows in held.items():
            samples, numbers = stretch.places[rows], stretch.windows[rows]
            cuts = np.searchsorted(numbers, np.arange(stretch.first, stretch.last + 2))
            at_once = max(1, _PART_BYTES // (4 * self._rows.widths[name]))
            for number, (first, last) in enumerate(pairwise(cuts.tolist()), stretch.first):
                if last == first:
                    continue
                window = windows[number]
                found = window.find(samples[first:last], name)
                for low in range(0, last - first, at_once):
                    part = slice(low, low + at_once)
                    out = values[name][first:last][part]
                    copies.append(partial(_copy, window, found[0][part], found[1][part], out))
        uid = self._index.sample_uid[stretch.places]
        return Assembled(stretch, uid, values, held), copies

    def _held(self, places: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        return {name: self._rows.held(places, name) for name in self._rows.measured}

    def _shapes(self, held: Mapping[str, NDArray[np.int64]]) -> dict[str, tuple[int, int]]:
        return {name: (len(rows), self._rows.widths[name]) for name, rows in held.items()}

    def _bytes(self, places: NDArray[np.int64]) -> int:
        return matrices_bytes(self._shapes(self._held(places)))


def _copy(
    _window: Window,
    addresses: NDArray[np.int64],
    item_bytes: NDArray[np.uint8],
    out: NDArray[np.float32],
    _reader: GroupReader,
) -> None:
    """Copy rows of a window, whose memory is not used again before."""
    gather_rows(addresses, item_bytes, out)


class _Loading:
    """Windows on their way to memory: each while the one before it is used.

    Every stretch of a window goes with its share of the next one, so that the disk and the
    threads are asked evenly.
    """

    def __init__(
        self,
        plan: EpochPlan,
        rows: Rows,
        memory: Memory,
        crew: Crew[GroupReader],
        is_stopped: Callable[[], bool],
    ) -> None:
        self._plan, self._rows, self._memory = plan, rows, memory
        self._crew, self._is_stopped = crew, is_stopped
        self._windows: dict[int, Window] = {}
        self._begun = 0
        # Of the last window that was begun: what is still to be given to the crew, and what was.
        self._left: list[int] = []
        self._given: list[Future[None]] = []

    def require(self, stretch: Stretch) -> Mapping[int, Window]:
        """The windows of a stretch, once all that it wants is there.

        Raises:
            ShardError: If something cannot be read or is damaged.
        """
        while self._begun <= stretch.last:
            self._begin()
        if self._begun == stretch.last + 1:
            self._give(len(self._left))
            wait(self._given)
            self._given = []
        return self._windows

    def has_begun(self, stretch: Stretch) -> bool:
        """Whether the windows of a stretch are there or on their way."""
        return self._begun > stretch.last

    def let_go(self, first: int) -> None:
        """Of the windows before the one with that number."""
        for number in [number for number in self._windows if number < first]:
            # Without the window, whose own memory the next one is to get.
            groups = self._windows.pop(number).groups
            self._crew.give([partial(self._let_go, groups)])

    def go_on(self, stretch: Stretch) -> None:
        """Go on with the window that comes after those of a stretch, if there is one."""
        # As long as the one before is wanted too, there would be three.
        if stretch.first != stretch.last:
            return
        if self._begun == stretch.last + 1 < len(self._plan.windows):
            self._begin()
        if self._begun > stretch.last + 1:
            self._give(-(-len(self._left) // stretch.left))

    def _begin(self) -> None:
        """Begin the next window; all of the one before is given to the crew first."""
        self._give(len(self._left))
        window = Window(self._rows, self._plan.windows[self._begun], self._memory)
        self._windows[self._begun] = window
        self._begun += 1
        self._left = window.groups

    def _give(self, number: int) -> None:
        """Give the crew so many of the row groups that are left."""
        now, self._left = self._left[:number], self._left[number:]
        at_once = max(1, min(_PART_GROUPS, number // self._crew.size))
        for low in range(0, number, at_once):
            window, groups = self._windows[self._begun - 1], now[low : low + at_once]
            self._given += self._crew.give([partial(self._load, window, groups)])

    def _let_go(self, groups: Sequence[int], reader: GroupReader) -> None:
        for number in groups:
            reader.let_go(self._rows.index.groups[number])

    def _load(self, window: Window, groups: Sequence[int], reader: GroupReader) -> None:
        for number in groups:
            if not self._is_stopped():
                window.load(number, reader)
