"""Values of samples brought together by person, so that nobody counts once a visit.

Legend of shapes: ``row`` counts samples that have a layer, ``person`` the people behind them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.prepared import PreparedCohort


def owners(samples: PreparedCohort) -> NDArray[np.str_]:
    """Person of each sample as text, ``(sample,)``; a sample without one is its own."""
    subjects = samples.subjects
    own = subjects.index.to_series(index=subjects.index)
    return np.asarray(subjects.where(subjects.notna(), own).astype(str), dtype=str)


def person_means(
    values: NDArray[np.floating[Any]], owner: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Mean over each person's rows.

    Args:
        values: ``(row, any)``.
        owner: Person of each row, ``(row,)``.

    Returns:
        The people, ``(person,)``, sorted, and their means, ``(person, any)``, float64.

    Example:
        >>> names, means = person_means(np.array([[1.0], [3.0], [5.0]]), np.array(["a", "a", "b"]))
        >>> means.ravel().tolist()
        [2.0, 5.0]
    """
    names, person = np.unique(owner, return_inverse=True)
    total = np.zeros((len(names), values.shape[1]))
    np.add.at(total, person, values)
    return names, total / np.bincount(person, minlength=len(names))[:, None]


def exchange_people(
    owner: NDArray[Any], num_repeats: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Rows to take values from when whole people are exchanged.

    Every person gets the rows of one other person (or keeps the own ones), in order, begun
    again where the donor has fewer rows than the receiver: visits of one person stay together.

    Args:
        owner: Person of each row, ``(row,)``.
        num_repeats: Number of exchanges.
        generator: Source of the draws.

    Returns:
        ``(repeat, row)``, int64: the row whose value each row gets. Every person is the donor
        of exactly one person.
    """
    _, person = np.unique(owner, return_inverse=True)
    order = np.argsort(person, kind="stable")
    count = np.bincount(person)
    start = np.concatenate([[0], count.cumsum()[:-1]]).astype(np.int64)
    visit = np.empty(len(person), dtype=np.int64)
    visit[order] = np.arange(len(person)) - start[person[order]]
    taken = np.empty((num_repeats, len(person)), dtype=np.int64)
    for repeat in range(num_repeats):
        donor = generator.permutation(len(count))[person]
        taken[repeat] = order[start[donor] + visit % count[donor]]
    return taken
