"""A part of many samples, by subject, for what needs their values in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.cohort import sample_uid, subjects_of
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.inference import Samples

_GB = 10**9
# Of train.memory_gb: analyses put the values side by side, and copy them.
_SHARE = 0.25


@dataclass(frozen=True)
class Subset:
    """Some samples in memory.

    Attributes:
        places: Their places among all samples, ``(sample,)``, int64, increasing.
        cohort: The samples.
        notices: What was left out, as a sentence; none if nothing was.
    """

    places: NDArray[np.int64]
    cohort: PreparedCohort
    notices: tuple[str, ...] = ()


def some_subjects(
    samples: Samples, memory_gb: float, among: NDArray[np.int64] | None = None
) -> Subset:
    """Whole subjects, as many as a quarter of ``memory_gb`` holds; one at least.

    Those of the smallest identity are taken, which is a hash of the name: whoever chooses,
    takes the same, whatever their label or side, and mostly the same as the cohort grows.

    Args:
        samples: All samples.
        memory_gb: Memory for values, 10^9 bytes, as ``train.memory_gb``.
        among: Places of the samples to take some of, increasing; None for all.

    Raises:
        ShardError: If the samples are read from shards that are damaged.
    """
    everyone = np.arange(len(samples.table)) if among is None else among
    num_samples = len(everyone)
    most = int(_SHARE * memory_gb * _GB / (4 * max(samples.num_features, 1)))
    if num_samples <= most:
        return Subset(everyone, samples.read(everyone).cohort)
    table = samples.table.iloc[everyone]
    subjects = subjects_of(table, samples.roles)
    own = table.index.to_series(index=subjects.index)
    names, subject = np.unique(
        subjects.where(subjects.notna(), own).astype(str).to_numpy(dtype=object),
        return_inverse=True,
    )
    order = np.argsort(sample_uid(names.tolist()).view(np.uint64), kind="stable")
    held = np.cumsum(np.bincount(subject)[order])
    chosen = order[: max(1, int(np.searchsorted(held, most, side="right")))]
    places = everyone[np.isin(subject, chosen)]
    noun = "samples" if samples.roles.subject is None else "subjects"
    notice = (
        f"what needs measured values (comparisons with raw features, hidden values, attributions) "
        f"rests on {len(places)} of {num_samples} samples ({len(chosen)} of {len(names)} {noun}), "
        f"a fixed choice of what a quarter of train.memory_gb ({memory_gb:g}) holds."
    )
    return Subset(places, samples.read(places).cohort, (notice,))
