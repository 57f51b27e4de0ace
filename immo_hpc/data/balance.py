"""Orders of samples in which every stretch has its share of each missing pattern."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def random_draws(seed: int, epoch: int, count: int) -> NDArray[np.uint64]:
    """Raw Philox draws of an epoch, ``(count,)``; a longer row of them starts with a shorter one.

    Raw draws are the part of NumPy's random numbers that stays the same over its
    versions; ``Generator.permutation`` is not promised to.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    draws: NDArray[np.uint64] = np.random.Philox(key=key).random_raw(count)
    return draws


def patterns(measured: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of each sample's set of measured layers, ``(sample,)``; equal sets, equal numbers.

    Args:
        measured: ``(sample, layer)``.
    """
    _, pattern = np.unique(measured, axis=0, return_inverse=True)
    return pattern.reshape(-1).astype(np.int64)


def ranks(order: NDArray[np.int64], *groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Place of each item of ``order`` within its group, and the size of the group.

    Args:
        order: Items, those of a group one after the other, ``(item,)``.
        groups: Numbers that are equal within a group and differ between neighbours, ``(item,)``.

    Returns:
        Two arrays ``(item,)``, in the order of ``order``.
    """
    starts = np.zeros(len(order), dtype=np.bool_)
    starts[:1] = True
    for group in groups:
        starts[1:] |= np.diff(group[order]) != 0
    first = np.flatnonzero(starts)
    sizes = np.diff(np.append(first, len(order)))
    return np.arange(len(order)) - np.repeat(first, sizes), np.repeat(sizes, sizes)


def by_group(order: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bring the items of a group together, the groups increasing, and leave their order in it.

    After a stable sort by the last key this is `numpy.lexsort`, in half its time.

    Args:
        order: Items, ``(item,)``.
        group: Group of each item, 0 and up, ``(item,)``.
    """
    # Of integers of 16 bits NumPy sorts digits.
    small = group.astype(np.uint16 if group.max(initial=0) < 2**16 else np.int64)
    return order[np.argsort(small[order], kind="stable")]


def spread(
    draws: NDArray[np.uint64], jitter: NDArray[np.uint64], groups: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Keys that, sorted, mix groups so that every stretch has its share of each.

    A group of ``n`` samples, in random order, gets one key in each ``n``-th of 0 to 1, at a
    random place in it. So the number of its samples below any key is within 1 of its share.

    Args:
        draws: Decides the order within a group, ``(sample,)``.
        jitter: Decides the place in the stretch, ``(sample,)``.
        groups: Numbers that together name each sample's group, ``(sample,)`` each.

    Returns:
        Keys, ``(sample,)``, 0 to 1.

    Example:
        >>> draws = np.random.Philox(0).random_raw(8)
        >>> group = np.array([0, 0, 0, 0, 0, 0, 1, 1])
        >>> order = np.argsort(spread(draws, draws, [group]))
        >>> group[order][:4].sum(), group[order][4:].sum()
        (np.int64(1), np.int64(1))
    """
    order = np.lexsort((draws, *groups))
    place, size = ranks(order, *groups)
    keys = np.empty(len(draws), dtype=np.float64)
    keys[order] = (place + jitter[order] / 2.0**64) / size
    return keys
