"""Dealing units to sides: in numbers near the wanted shares, stratum by stratum.

Units of one label are a stratum. Subjects differ in their number of visits, so of
`_CANDIDATES` seeded deals the one is taken whose sides come nearest to the wanted shares of
samples, over all and within each label. The choice looks at sizes and labels alone, never
at a measured value, and does not depend on the order of the samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.errors import CohortError

_CANDIDATES = 128


@dataclass(frozen=True)
class Units:
    """Units in the order of their names.

    Attributes:
        of_sample: Unit of each sample, ``(sample,)``.
        size: Samples by unit and label, ``(unit, label)``; the last label is 'none'.
        stratum: Stratum of each unit, ``(unit,)``.
        is_class: True for strata that are one label with a unit for every side,
            ``(stratum,)``; others hold the rarer labels together, and units without label.
    """

    of_sample: NDArray[np.int64]
    size: NDArray[np.int64]
    stratum: NDArray[np.int64]
    is_class: NDArray[np.bool_]


def units_of(names: Iterable[Any], labels: Iterable[Any] | None, num_sides: int) -> Units:
    """Units and their strata from the unit and the label of each sample."""
    unit_names, of_sample = np.unique([str(name) for name in names], return_inverse=True)
    known = [None] * len(of_sample) if labels is None else _texts(labels)
    classes = sorted({label for label in known if label is not None})
    none, rare = len(classes), len(classes) + 1
    column = {label: place for place, label in enumerate(classes)}
    columns = np.array([none if label is None else column[label] for label in known])
    size = np.zeros((len(unit_names), none + 1), dtype=np.int64)
    np.add.at(size, (of_sample, columns), 1)
    # Unknown labels do not outvote known ones; of two equally frequent the first by name.
    votes = np.where(np.arange(none + 1) < none, size, 0)
    stratum = np.where(votes.any(axis=1), votes.argmax(axis=1), none)
    held = np.bincount(stratum, minlength=rare + 1)
    is_class = (held >= num_sides) & (np.arange(rare + 1) < none)
    stratum = np.where(is_class[stratum] | (stratum == none), stratum, rare)
    return Units(of_sample.astype(np.int64), size, stratum, is_class)


def _texts(labels: Iterable[Any]) -> list[str | None]:
    return [None if pd.isna(label) else str(label) for label in labels]


def require_units(units: Units, num_sides: int, unit: str, remedy: str) -> None:
    """Refuse fewer units than sides.

    Raises:
        CohortError: If there are fewer ``unit``s than sides.
    """
    found = len(units.size)
    if found < num_sides:
        message = (
            f"the sample table has {found} {unit}{'' if found == 1 else 's'}, but {num_sides} "
            f"parts need at least one {unit} each. Add {unit}s, or {remedy}."
        )
        raise CohortError(message)


def best_deal(units: Units, share: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Side of each sample in the best of the seeded deals, ``(sample,)``."""
    held = np.bincount(units.stratum, minlength=len(units.is_class))
    counts = _counts(held, units.is_class, share)
    # Sides of the units sorted by stratum; a deal is a random order inside the strata.
    sides = np.concatenate([np.repeat(np.arange(len(share)), row) for row in counts])
    best, best_score = sides, np.inf
    for candidate in range(_CANDIDATES):
        random = np.random.default_rng([seed, candidate]).random(len(sides))
        side = np.empty_like(sides)
        side[np.lexsort((random, units.stratum))] = sides
        score = _imbalance(units.size, side, share)
        if score < best_score:
            best, best_score = side, score
        if score == 0 or units.size.sum(axis=1).max() == 1:
            break  # All deals of single samples are equally good.
    return best[units.of_sample]


def _imbalance(
    size: NDArray[np.int64], side: NDArray[np.int64], share: NDArray[np.float64]
) -> float:
    """Distance from the wanted shares of samples: over all, plus the mean over labels."""
    table = np.zeros((len(share), size.shape[1]))
    np.add.at(table, side, size)
    total = table.sum(axis=0)
    by_label = np.abs(table[:, total > 0] / total[total > 0] - share[:, None]).sum(axis=0)
    overall = np.abs(table.sum(axis=1) / total.sum() - share).sum()
    return float(overall + by_label.mean())


def _counts(
    held: NDArray[np.int64], is_class: NDArray[np.bool_], share: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Units of each stratum for each side, ``(stratum, side)``, near ``held * share``.

    Side after side takes its part of what is left, so that both its total and its part of
    each stratum are rounded; classes leave at least one unit for every side to come.
    """
    counts = np.zeros((len(held), len(share)), dtype=np.int64)
    left = held.copy()
    open_sides = np.flatnonzero(share)
    for done, side in enumerate(open_sides):
        coming = len(open_sides) - done - 1
        part = share[side] / share[open_sides[done:]].sum()
        lower = is_class.astype(np.int64)
        upper = left - coming * is_class
        total = np.clip(np.floor(left.sum() * part + 0.5), 1, left.sum() - coming)
        counts[:, side] = _rounded(left * part, int(total), lower, upper)
        left = left - counts[:, side]
    return counts


def _rounded(
    wanted: NDArray[np.float64], total: int, lower: NDArray[np.int64], upper: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Integers near ``wanted`` within the bounds, with the sum ``total`` if these allow it."""
    counts = np.clip(np.floor(wanted + 1e-9).astype(np.int64), lower, upper)
    while counts.sum() < min(total, upper.sum()):
        counts[np.where(counts < upper, wanted - counts, -np.inf).argmax()] += 1
    while counts.sum() > max(total, lower.sum()):
        counts[np.where(counts > lower, wanted - counts, np.inf).argmin()] -= 1
    return counts
