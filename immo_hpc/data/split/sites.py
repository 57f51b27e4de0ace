"""Testing on sites (or batches) that were never learnt from."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Roles, subjects_of
from immo_hpc.errors import CohortError


def leave_one_batch_out(
    samples: pd.DataFrame, roles: Roles
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Each site once as the test side, all others as the training side.

    A subject seen at the site is on the test side with all its samples, those from elsewhere
    included: nobody is both learnt from and tested on. Samples of unknown site are learnt
    from, unless their subject was seen at the site.

    Args:
        samples: Sample table, index ``sample_id``.
        roles: Names of its batch and subject columns.

    Yields:
        Site, and the places of the training and of the test samples, increasing, int64; sites
        in the order of their names.

    Raises:
        CohortError: If there is no batch column, only one site, or a site that every
            subject was seen at.

    Example:
        >>> table = pd.DataFrame({"person": list("aabc"), "site": list("xyyz")})
        >>> roles = Roles(subject="person", batch="site")
        >>> for site, train, test in leave_one_batch_out(table, roles):
        ...     print(site, train, test)
        x [2 3] [0 1]
        y [3] [0 1 2]
        z [0 1 2] [3]
    """
    sites = _batches(samples, roles, "leaving one site out")
    names = sorted(set(sites.dropna()))
    if len(names) < 2:
        message = (
            f"column '{roles.batch}': leaving one site out needs at least two sites, found {names}."
        )
        raise CohortError(message)
    own = pd.Series(samples.index.astype(str), index=samples.index, dtype=object)
    subjects = subjects_of(samples, roles)
    units = ("subject " + subjects.astype(str)).where(subjects.notna(), "sample " + own)
    for name in names:
        in_test = visitors(units, (sites == name).to_numpy())
        if in_test.all():
            message = (
                f"column '{roles.batch}': every subject was seen at '{name}', so nobody is left "
                "to learn from when it is left out."
            )
            raise CohortError(message)
        yield name, np.flatnonzero(~in_test), np.flatnonzero(in_test)


def seen_at(
    samples: pd.DataFrame, roles: Roles, batches: Sequence[str], *, all_there: bool = True
) -> NDArray[np.bool_]:
    """True for samples from one of ``batches``, ``(sample,)``.

    Raises:
        CohortError: If there is no batch column or, with ``all_there``, one of the batches
            has no sample.
    """
    sites = _batches(samples, roles, "split.test_batches")
    found = sorted(set(sites.dropna()))
    absent = [name for name in batches if name not in found]
    if absent and all_there:
        near = difflib.get_close_matches(absent[0], found, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        message = (
            f"split.test_batches names '{absent[0]}'{hint}, but no sample has it in column "
            f"'{roles.batch}'; found there: {', '.join(found[:20]) or 'nothing'}"
            f"{', ...' if len(found) > 20 else ''}."
        )
        raise CohortError(message)
    return np.asarray(sites.isin(list(batches)), dtype=np.bool_)


def visitors(units: pd.Series, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True for all samples of the units that have a sample ``there``, ``(sample,)``."""
    return np.asarray(units.isin(units[there].unique()), dtype=np.bool_)


def _batches(samples: pd.DataFrame, roles: Roles, what: str) -> pd.Series:
    if roles.batch is None:
        message = (
            f"{what} needs to know where samples come from, but the cohort has no batch column. "
            "Name the column of the sample table in cohort.yaml, as in `batch: site`."
        )
        raise CohortError(message)
    column = samples[roles.batch]
    return column.astype(str).where(column.notna(), None)
