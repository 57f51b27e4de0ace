"""Cross-validation over whole subjects: folds, repeated folds, and folds inside folds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.split.deal import best_deal, require_units, units_of

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class NestedFold:
    """One outer fold, and the inner folds of its training subjects.

    Attributes:
        train: Places of its training samples, increasing, int64.
        test: Places of its test samples, increasing, int64.
        inner: For each inner fold the places of the samples to learn from and to choose by;
            together they are ``train``.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    inner: tuple[Fold, ...]


def subject_folds(
    subjects: Iterable[Any], labels: Iterable[Any] | None, num_folds: int, seed: int
) -> list[Fold]:
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
    units = units_of(subjects, labels, num_folds)
    require_units(units, num_folds, "subject", "use fewer folds")
    fold = best_deal(units, np.full(num_folds, 1 / num_folds), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(num_folds)]


def repeated_subject_folds(
    subjects: Iterable[Any],
    labels: Iterable[Any] | None,
    num_folds: int,
    num_repeats: int,
    seed: int,
) -> list[list[Fold]]:
    """`subject_folds` several times, each time dealt anew.

    Args:
        subjects: Subject of each sample, ``(sample,)``.
        labels: Label of each sample, ``(sample,)``, or None.
        num_folds: Number of folds of each repeat, at least 2.
        num_repeats: Number of repeats. More repeats leave the first ones as they are.
        seed: Seed of all deals, at least 0.

    Returns:
        Folds of each repeat; within a repeat each subject is tested on once.

    Raises:
        CohortError: If there are fewer subjects than folds.

    Example:
        >>> repeats = repeated_subject_folds(list("abcd"), None, 2, num_repeats=3, seed=0)
        >>> [sum(len(test) for _, test in folds) for folds in repeats]
        [4, 4, 4]
    """
    people, known = list(subjects), None if labels is None else list(labels)
    return [
        subject_folds(people, known, num_folds, _derived(seed, "repeat", repeat))
        for repeat in range(num_repeats)
    ]


def nested_subject_folds(
    subjects: Iterable[Any],
    labels: Iterable[Any] | None,
    num_outer: int,
    num_inner: int,
    seed: int,
) -> list[NestedFold]:
    """Folds to test on, each with folds of its training subjects to choose settings by.

    Args:
        subjects: Subject of each sample, ``(sample,)``.
        labels: Label of each sample, ``(sample,)``, or None.
        num_outer: Number of outer folds, at least 2; they are `subject_folds` of ``seed``.
        num_inner: Number of inner folds of each, at least 2.
        seed: Seed of all deals, at least 0.

    Returns:
        The outer folds. Within one, each training subject is chosen by in one inner fold, and
        its test subjects are in none.

    Raises:
        CohortError: If there are fewer subjects than outer folds, or fewer training
            subjects of an outer fold than inner folds.

    Example:
        >>> first = nested_subject_folds(list("abcdef"), None, 3, 2, seed=0)[0]
        >>> len(first.train), len(first.test), [len(choose) for _, choose in first.inner]
        (4, 2, [2, 2])
    """
    people = np.array([str(name) for name in subjects], dtype=object)
    known = None if labels is None else np.array(list(labels), dtype=object)
    nested = []
    for outer, (train, test) in enumerate(subject_folds(people, known, num_outer, seed)):
        inner = subject_folds(
            people[train],
            None if known is None else known[train],
            num_inner,
            _derived(seed, "inner", outer),
        )
        folds = tuple((train[learn], train[choose]) for learn, choose in inner)
        nested.append(NestedFold(train, test, folds))
    return nested


def _derived(seed: int, purpose: str, number: int) -> int:
    """A seed of its own: neighbouring seeds and numbers share nothing."""
    words = np.random.SeedSequence([seed, *purpose.encode(), number]).generate_state(2)
    return int(words[0]) << 32 | int(words[1])
