"""Which samples are in memory together, and which batches are made of them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.stream.order import StreamOrder


@dataclass(frozen=True)
class Stretch:
    """Consecutive batches that are put together at once.

    Attributes:
        places: Their samples in order, ``(sample,)``, int64.
        windows: Number of the window that each comes with, ``(sample,)``, int64, never decreasing.
        bounds: Samples before each batch, and all of them, ``(batch + 1,)``, int64.
        first: The first window that is still wanted.
        last: The last window that has to be there.
        left: Stretches of that window alone from this one on, so many to read the next one in.
    """

    places: NDArray[np.int64]
    windows: NDArray[np.int64]
    bounds: NDArray[np.int64]
    first: int
    last: int
    left: int = 1


@dataclass(frozen=True)
class EpochPlan:
    """What one process does in an epoch.

    Attributes:
        windows: Samples of each window, increasing, ``(sample,)``, int64.
        stretches: The batches, in order.
    """

    windows: tuple[NDArray[np.int64], ...]
    stretches: tuple[Stretch, ...]


def plan_epoch(
    order: StreamOrder,
    *,
    batch_size: int,
    start: int,
    rank: int,
    world_size: int,
    batches_at_once: int,
) -> EpochPlan:
    """Plan an epoch from batch ``start`` on, for one of ``world_size`` processes.

    Args:
        order: The samples of the epoch in order.
        batch_size: Samples in a batch of all processes.
        start: First batch.
        rank: Number of the process.
        world_size: Number of processes.
        batches_at_once: Batches of a stretch, >= 1.
    """
    total = len(order.places)
    batches = np.arange(total) // batch_size
    mine = np.flatnonzero((order.lanes % world_size == rank) & (batches >= start))
    places, batches = order.places[mine], batches[mine]
    # A process may have nothing of a window.
    windows = np.unique(order.windows[mine], return_inverse=True)[1].astype(np.int64)
    cuts = np.searchsorted(windows, np.arange(1, windows.max(initial=0) + 1))
    bounds = np.searchsorted(batches, np.arange(start, -(-total // batch_size) + 1))
    return EpochPlan(
        tuple(np.sort(samples) for samples in np.split(places, cuts) if len(samples)),
        tuple(_counted(list(_stretches(places, windows, bounds, batches_at_once)))),
    )


def _stretches(
    places: NDArray[np.int64],
    windows: NDArray[np.int64],
    bounds: NDArray[np.int64],
    batches_at_once: int,
) -> Iterator[Stretch]:
    last = -1
    for number in range(0, len(bounds) - 1, batches_at_once):
        inner = bounds[number : number + batches_at_once + 1]
        low, high = int(inner[0]), int(inner[-1])
        first = int(windows[low]) if high > low else last
        last = int(windows[high - 1]) if high > low else last
        yield Stretch(places[low:high], windows[low:high], inner - low, first, last)


def _counted(stretches: list[Stretch]) -> Iterator[Stretch]:
    """The same, told how many there are of their windows."""
    counts = Counter(each.last for each in stretches if each.first == each.last)
    for each in stretches:
        yield replace(each, left=max(counts[each.last], 1))
        if each.first == each.last:
            counts[each.last] -= 1
