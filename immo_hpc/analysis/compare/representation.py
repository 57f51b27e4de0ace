"""Classifying from a representation of the samples: one classifier, chosen in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from immo_hpc.analysis.classifiers import CLASSIFIERS, LOGISTIC, Classifier
from immo_hpc.analysis.compare.contender import LabelTask, Learnt, Table
from immo_hpc.analysis.methods import Method, on_matrix
from immo_hpc.data.prepared import PreparedCohort

Represent = Callable[[PreparedCohort], Table]

# Linear and not; those that take long for little are left out.
CHOICES: tuple[Classifier, ...] = (LOGISTIC, CLASSIFIERS["lda"], CLASSIFIERS["svm"])


def classified(learnt: Learnt, represent: Represent) -> Learnt:
    """``learnt`` with a label: the best of `CHOICES` inside the training subjects."""
    return replace(learnt, label=lambda task: best_on(represent, task))


def best_on(represent: Represent, task: LabelTask) -> Method:
    """The classifier with the highest subject-level AUC over folds of the training subjects."""
    x = np.asarray(represent(task.cohort), np.float32)[task.data.index]
    methods = [
        on_matrix(kind, "latent", x, task.data, task.folds, task.seed, always_score=True)
        for kind in CHOICES
    ]
    best = max(methods, key=lambda method: np.nan_to_num(method.training_auc, nan=-1.0))
    return replace(best, setting=f"{best.title}, {best.setting}")
