"""Who is learnt from and who is tested on: whole subjects.

A *unit* is what never stands on two sides: a subject with all its samples, or one sample.
Sides are dealt in the wanted shares within each label (`immo_hpc.data.split.deal`), or follow
from each unit's name alone (`immo_hpc.data.split.hashed`), which stays true when the cohort
grows. Nothing here looks at a measured value.
"""

from immo_hpc.data.split.assign import assign_new, split_notices, split_samples
from immo_hpc.data.split.folds import (
    NestedFold,
    nested_subject_folds,
    repeated_subject_folds,
    subject_folds,
)
from immo_hpc.data.split.sites import leave_one_batch_out

__all__ = [
    "NestedFold",
    "assign_new",
    "leave_one_batch_out",
    "nested_subject_folds",
    "repeated_subject_folds",
    "split_notices",
    "split_samples",
    "subject_folds",
]
