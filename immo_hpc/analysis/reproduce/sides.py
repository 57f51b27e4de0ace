"""One split of the cohort, prepared on its training side alone."""

from __future__ import annotations

import numpy as np

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.split import split_samples


def prepared_cohort(cohort: Cohort, config: ImmoConfig) -> tuple[Preparation, PreparedCohort]:
    """Split and prepare; samples whose every value was filtered away are left out.

    Raises:
        CohortError: If a side would be empty, or a layer cannot be prepared.
    """
    split = split_samples(cohort.samples, cohort.roles, config.split, config.seed)
    preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), config.preparation)
    prepared = preparation.apply(cohort, split=split)
    return preparation, prepared.take(np.flatnonzero(prepared.measured().any(axis=1)))
