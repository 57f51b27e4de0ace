"""The order of an epoch from shards: windows of row groups, each dealt to lanes.

Row groups come in random order. So many of them as fit the window are read and shuffled
together. Within a window the groups are dealt to a fixed number of lanes, and every batch
takes its share from every lane, so that up to that many processes can each read their own
lanes and together make the very batches that one process makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.balance import by_group, random_draws, ranks, spread

LANES = 8


@dataclass(frozen=True)
class StreamOrder:
    """Every sample of an epoch once, in order.

    Attributes:
        places: Which of the samples comes, ``(sample,)``, int64.
        windows: Window it is read with, ``(sample,)``, int64, never decreasing.
        lanes: Lane it is read by, ``(sample,)``, int64.
    """

    places: NDArray[np.int64]
    windows: NDArray[np.int64]
    lanes: NDArray[np.int64]


def stream_order(
    groups: NDArray[np.int64],
    sample_bytes: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    window_bytes: int,
    patterns: NDArray[np.int64] | None = None,
) -> StreamOrder:
    """Order the samples of an epoch.

    A pure function of its arguments: neither machine nor number of processes enters.

    Args:
        groups: Row group of each sample, ``(sample,)``, 0 and up.
        sample_bytes: Bytes of each sample's values, ``(sample,)``.
        seed: Seed of the order.
        epoch: Number of the epoch.
        window_bytes: Most bytes of a window, unless a row group is larger than half of it.
        patterns: Missing pattern of each sample, ``(sample,)``; with it, every stretch of a
            lane has its share of the window's patterns. None: the order is plainly random.
    """
    num_groups, num_samples = int(groups.max()) + 1, len(groups)
    draws = random_draws(seed, epoch, num_groups + 2 * num_samples)
    sizes = np.bincount(groups, sample_bytes, num_groups).astype(np.float64)
    counts = np.bincount(groups, minlength=num_groups)
    order = np.argsort(draws[:num_groups], kind="stable")
    window_of_group = _windows(sizes[order], window_bytes)[np.argsort(order, kind="stable")]
    window = window_of_group[groups]
    lane = _lanes(order, window_of_group, counts)[groups]
    draw, jitter = np.split(draws[num_groups:], 2)
    key = draw if patterns is None else spread(draw, jitter, [patterns, lane, window])
    by_lane = by_group(np.argsort(key, kind="stable"), LANES * window + lane)
    place, size = ranks(by_lane, window, lane)
    share = np.empty(num_samples, dtype=np.float64)
    share[by_lane] = (2 * place + 1) / (2 * size)
    # Stretches that are in order already are merged rather than sorted.
    merged = by_group(by_lane[np.argsort(share[by_lane], kind="stable")], window)
    return StreamOrder(merged, window[merged], lane[merged])


def _windows(sizes: NDArray[np.float64], window_bytes: int) -> NDArray[np.int64]:
    """Window of each row group, in the order given; windows of nearly one size."""
    ends = np.cumsum(sizes)
    total, largest = float(ends[-1]), float(sizes.max())
    if total <= window_bytes:
        return np.zeros(len(sizes), dtype=np.int64)
    room = max(window_bytes - largest, largest)
    number = int(np.ceil(total / room))
    middle = ends - sizes / 2
    return np.minimum((middle * number / total).astype(np.int64), number - 1)


def _lanes(
    order: NDArray[np.int64], windows: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Lane of each row group: within a window, the largest first, each to the emptiest lane."""
    lanes = np.zeros(len(counts), dtype=np.int64)
    turn = order[np.lexsort((-counts[order], windows[order]))]
    window, heap = -1, []
    for group in turn.tolist():
        if windows[group] != window:
            window = int(windows[group])
            heap = [(0, lane) for lane in range(LANES)]
            heapify(heap)
        held, lane = heap[0]
        lanes[group] = lane
        heapreplace(heap, (held + int(counts[group]), lane))
    return lanes
