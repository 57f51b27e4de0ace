"""Which samples are in memory together, and which batches they complete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.stream.order import StreamOrder


@dataclass(frozen=True)
class WindowPlan:
    """The samples in memory at one time.

    Attributes:
        places: The samples in the order of their batches, ``(sample,)``, int64.
        carried: How many of the first of them were read with the window before.
        bounds: Samples before each complete batch, and before what the next window takes
            over, ``(batch + 1,)``, int64.
    """

    places: NDArray[np.int64]
    carried: int
    bounds: NDArray[np.int64]


def plan_windows(
    order: StreamOrder, *, batch_size: int, start: int, rank: int, world_size: int
) -> list[WindowPlan]:
    """Plans of an epoch from batch ``start`` on, for one of ``world_size`` processes.

    A batch whose samples were read with two windows is complete with the second.
    """
    total = len(order.places)
    batches = np.arange(total) // batch_size
    mine = np.flatnonzero((order.lanes % world_size == rank) & (batches >= start))
    places, windows, batches = order.places[mine], order.windows[mine], batches[mine]
    numbers, first = np.unique(order.windows, return_index=True)
    ends = [*first[1:].tolist(), total]
    plans = []
    begin, done = 0, start
    for number, end in zip(numbers.tolist(), ends, strict=True):
        if end <= start * batch_size:
            continue
        complete = -(-total // batch_size) if end == total else max(end // batch_size, done)
        low, high = np.searchsorted(windows, [number, number + 1]).tolist()
        bounds = np.searchsorted(batches, np.arange(done, complete + 1)) - begin
        plans.append(WindowPlan(places[begin:high], low - begin, bounds))
        begin, done = begin + int(bounds[-1]), complete
    return plans
