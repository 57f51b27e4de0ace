"""The training samples that a companion keeps: whole people, rounded, without names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Roles, days_of, sample_uid
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import people

# A sample more costs a row and a column of every matrix that is decomposed.
MOST_SAMPLES = 2000
# Of prepared values as they are saved, two bytes each.
MOST_BYTES = 512 << 20
VALUE_BYTES = 2

_LARGEST = 6e4  # float16 holds no more.
SUBJECT, DAYS = "subject", "days"


def chosen_people(
    subjects: Sequence[str], sides: NDArray[np.str_], num_values: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Places of the samples to keep: all, or those of as many people as there is room for.

    People are taken in the order of a hash of their names, whole, so that the choice depends
    on nothing else and hardly changes as a cohort grows.

    Args:
        subjects: Subject of each sample, ``(sample,)``.
        sides: Side of each sample, ``(sample,)``; those of 'test' are never kept.
        num_values: Values that each sample has, ``(sample,)``.

    Returns:
        Places, increasing, int64; those of one person at least, if there is any.

    Example:
        >>> sides = np.array(["train", "test"])
        >>> chosen_people(["ann", "bob"], sides, np.array([5, 5])).tolist()
        [0]
    """
    everyone = np.asarray(subjects, dtype=str)
    may = np.flatnonzero(sides != "test")
    names, code = np.unique(everyone[may], return_inverse=True)
    order = np.argsort(sample_uid(names.tolist()).view(np.uint64), kind="stable")
    samples = np.cumsum(np.bincount(code, minlength=len(names))[order])
    values = np.cumsum(np.bincount(code, num_values[may], minlength=len(names))[order])
    fits = (samples <= MOST_SAMPLES) & (VALUE_BYTES * values <= MOST_BYTES)
    taken = order[: max(int(fits.sum()), 1)]
    return may[np.isin(code, taken)].astype(np.int64)


def rounded(cohort: PreparedCohort) -> PreparedCohort:
    """The samples with their values as float16 holds them, each on a side of a split."""
    layers = {}
    for name, layer in cohort.layers.items():
        values = np.clip(layer.values, -_LARGEST, _LARGEST).astype(np.float16)
        layers[name] = replace(layer, values=values.astype(np.float32))
    split = np.full(len(cohort.samples), "train") if cohort.split is None else cohort.split
    return replace(cohort, layers=layers, split=split)


def nameless(cohort: PreparedCohort) -> PreparedCohort:
    """The samples with numbers for names: of their table, who and when is kept.

    When is the days since the first sample of the subject; NaN if it is not known.
    """
    code = np.unique(people(cohort.samples, cohort.roles), return_inverse=True)[1].ravel()
    days = None
    if cohort.roles.time is not None:
        taken = pd.Series(days_of(cohort.samples, cohort.roles))
        days = np.asarray(taken - taken.groupby(code).transform("min"), dtype=np.float64)
    samples, roles = numbered(code, days)
    return replace(cohort, samples=samples, roles=roles)


def numbered(
    subject: NDArray[np.int64], days: NDArray[np.float64] | None
) -> tuple[pd.DataFrame, Roles]:
    """The sample table of `nameless` and the meaning of its columns.

    Args:
        subject: Number of each sample's subject, ``(sample,)``.
        days: When each was taken, ``(sample,)``, NaN where unknown; None: no such column.
    """
    index = pd.Index([f"reference {number}" for number in range(len(subject))], name="sample_id")
    # Of one width, so that text is in the order of the numbers.
    columns: dict[str, object] = {SUBJECT: [f"{number:09d}" for number in subject.tolist()]}
    if days is not None:
        columns[DAYS] = days
    return pd.DataFrame(columns, index=index), Roles(
        subject=SUBJECT, time=DAYS if DAYS in columns else None
    )
