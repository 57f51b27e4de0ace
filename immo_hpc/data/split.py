"""Who is learnt from and who is tested on: whole subjects, stratified by label.

A *unit* is what never stands on two sides: a subject with all its samples, or one sample.
Units are dealt to sides stratum by stratum (units of one label), in numbers as near as
possible to the wanted shares. Subjects differ in their number of visits, so of
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

from immo_hpc.config import SplitConfig
from immo_hpc.data.cohort import Roles
from immo_hpc.errors import CohortError

_CANDIDATES = 128
_SIDES = ("test", "validation", "train")


@dataclass(frozen=True)
class _Units:
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


def split_samples(
    samples: pd.DataFrame, roles: Roles, config: SplitConfig, seed: int
) -> NDArray[np.str_]:
    """Side of each sample: 'train', 'validation' or 'test'.

    Units are the subjects, or the samples with ``config.by == 'sample'`` and in a cohort
    without subjects; a sample whose subject is unknown is a unit of its own. The shares
    count units. A unit has the label that most of its samples have; a label that three units
    have is on every side with a share above 0.

    Args:
        samples: Sample table, index ``sample_id``.
        roles: Names of its subject and label columns.
        config: Unit and shares.
        seed: Seed of the deal, at least 0.

    Returns:
        Sides, ``(sample,)``, the same for the same samples in any order.

    Raises:
        CohortError: If there are fewer units than sides.

    Example:
        >>> people = list("aabbccdd")
        >>> table = pd.DataFrame({"person": people}, index=[f"s{i}" for i in range(8)])
        >>> config = SplitConfig(test_fraction=0.25, validation_fraction=0)
        >>> sides = split_samples(table, Roles(subject="person"), config, seed=0)
        >>> int((sides == "test").sum()), int((sides == "train").sum())
        (2, 6)
    """
    names = pd.Series(samples.index.astype(str), index=samples.index, dtype=object)
    by_subject = config.by == "subject" and roles.subject is not None
    if by_subject:
        # The prefix keeps a sample without subject apart from a subject of that name.
        subjects = samples[roles.subject]
        names = ("subject " + subjects.astype(str)).where(subjects.notna(), "sample " + names)
    labels = None if roles.label is None else samples[roles.label]
    rest = 1 - config.test_fraction
    share = np.array([config.test_fraction, rest * config.validation_fraction, 0.0])
    share[2] = 1 - share.sum()
    num_sides = int(np.count_nonzero(share))
    units = _units(names, labels, num_sides)
    remedy = "set split.test_fraction=0 or split.validation_fraction=0"
    if by_subject:
        remedy += ", or split.by=sample, knowing that scores are then inflated"
    _require(units, num_sides, "subject" if by_subject else "sample", remedy)
    return np.array(_SIDES)[_best_deal(units, share, seed)]


def subject_folds(
    subjects: Iterable[Any], labels: Iterable[Any] | None, num_folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Folds of whole subjects: each subject is tested on once.

    Folds hold nearly the same number of subjects of each label; a label that at least
    ``num_folds`` subjects have is in every fold.

    Args:
        subjects: Subject of each sample, ``(sample,)``.
        labels: Label of each sample, ``(sample,)``, None or NaN = unknown; None: no labels.
        num_folds: Number of folds, at least 2.
        seed: Seed of the deal, at least 0.

    Returns:
        For each fold the places of its training and its test samples, increasing, int64.

    Raises:
        CohortError: If there are fewer subjects than folds.

    Example:
        >>> folds = subject_folds(["a", "a", "b", "c"], None, num_folds=3, seed=0)
        >>> sorted(test.tolist() for _, test in folds)
        [[0, 1], [2], [3]]
    """
    units = _units(subjects, labels, num_folds)
    _require(units, num_folds, "subject", "use fewer folds")
    fold = _best_deal(units, np.full(num_folds, 1 / num_folds), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(num_folds)]


def _units(names: Iterable[Any], labels: Iterable[Any] | None, num_sides: int) -> _Units:
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
    return _Units(of_sample.astype(np.int64), size, stratum, is_class)


def _texts(labels: Iterable[Any]) -> list[str | None]:
    return [None if pd.isna(label) else str(label) for label in labels]


def _require(units: _Units, num_sides: int, unit: str, remedy: str) -> None:
    found = len(units.size)
    if found < num_sides:
        message = (
            f"the sample table has {found} {unit}{'' if found == 1 else 's'}, but {num_sides} "
            f"parts need at least one {unit} each. Add {unit}s, or {remedy}."
        )
        raise CohortError(message)


def _best_deal(units: _Units, share: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
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
