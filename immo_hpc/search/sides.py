"""The samples of a search: never those of the test side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from immo_hpc.analysis.choice import choose
from immo_hpc.analysis.classifiers import LOGISTIC
from immo_hpc.analysis.labels import LabelledSamples
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.split import subject_folds
from immo_hpc.errors import CohortError
from immo_hpc.inference import forward
from immo_hpc.nn import ImmoModel


def without_test(cohort: PreparedCohort) -> PreparedCohort:
    """The samples that a search may see: those of the training and validation sides.

    Raises:
        CohortError: If the cohort has no validation side to measure a trial on.
    """
    sides = [] if cohort.split is None else cohort.split.tolist()
    require_validation({side: sides.count(side) for side in set(sides)})
    return cohort.take(cohort.indices("train", "validation"))


def require_validation(splits: Mapping[str, int]) -> None:
    """Refuse samples of which none may be held out.

    Args:
        splits: Samples on each side.

    Raises:
        CohortError: If there is no validation side.
    """
    if not splits.get("validation"):
        message = (
            "the shards have no validation side, so no trial can be measured. Prepare them with "
            "split.validation_fraction above 0."
        )
        raise CohortError(message)


def folds_of(cohort: PreparedCohort, num_folds: int, seed: int) -> list[PreparedCohort]:
    """The cohort split anew, once a fold; every trial is measured on the same people.

    Args:
        cohort: Samples without a test side.
        num_folds: 1 for the split as it is; else each person is held out in one fold.
        seed: Seed of the deal.

    Raises:
        CohortError: If there are fewer people than folds.
    """
    if num_folds == 1:
        return [cohort]
    labels = cohort.labels
    dealt = subject_folds(
        cohort.subjects.tolist(), None if labels is None else labels.tolist(), num_folds, seed
    )
    folded = []
    for _, held_out in dealt:
        split = np.full(len(cohort.samples), "train", dtype="<U10")
        split[held_out] = "validation"
        folded.append(replace(cohort, split=split))
    return folded


def coded_labels(cohort: PreparedCohort) -> LabelledSamples:
    """Labels of the samples, coded; all of them may be learnt from.

    Raises:
        CohortError: If there is no label, or fewer than two people of each class.
    """
    label = cohort.roles.label
    if label is None or label not in cohort.samples.columns:
        message = (
            "objective 'auc': no label column is named, so nothing can be classified. Prepare "
            "the shards with --label, or leave this objective out."
        )
        raise CohortError(message)
    values = cohort.samples[label]
    index = np.flatnonzero(values.notna().to_numpy()).astype(np.int64)
    classes, y = np.unique(values.iloc[index].astype(str).to_numpy(dtype=str), return_inverse=True)
    people = pd.factorize(cohort.subjects.iloc[index].astype(str))[0]
    data = LabelledSamples(
        index=index,
        y=y.astype(np.int64),
        classes=tuple(str(name) for name in classes),
        subject=people.astype(np.int64),
        training=np.ones(len(index), dtype=np.bool_),
    )
    if not data.folds(0):
        message = (
            f"objective 'auc': label '{label}' has fewer than two classes with two people each "
            "outside the test side. Leave this objective out."
        )
        raise CohortError(message)
    return data


def latent_auc(model: ImmoModel, cohort: PreparedCohort, data: LabelledSamples) -> float:
    """Subject-level AUC of the latent by cross-validation over whole people.

    Args:
        model: Trained network.
        cohort: Samples without a test side.
        data: Their labels.

    Returns:
        Mean over folds of the macro-averaged AUC; 0.5 where none is defined.
    """
    latent = forward.embed(model, cohort)
    # Folds of a fixed seed: the same for every trial.
    chosen = choose(LOGISTIC, latent[data.index], data, data.folds(0), 0)
    return chosen.auc if np.isfinite(chosen.auc) else 0.5
