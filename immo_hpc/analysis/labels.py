"""Labelled samples of a cohort, coded for classification, and who stands on which side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Roles, subjects_of
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.split import subject_folds
from immo_hpc.errors import CohortError

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

NO_SUBJECTS = (
    "No subject column is named, so every sample counts as a subject of its own. If subjects "
    "come more than once, every figure here is inflated."
)


@dataclass(frozen=True)
class LabelledSamples:
    """The samples that carry a label; ``sample`` below counts these alone.

    Attributes:
        index: Their places in the cohort, ``(sample,)``, int64, increasing.
        y: Code of each label, ``(sample,)``, int64.
        classes: Labels by code; of two, the positive one is code 1.
        subject: Code of each sample's subject, ``(sample,)``, int64.
        training: True on the training side (train and validation subjects), False on the
            test side, ``(sample,)``, bool.
        notices: What was left out or assumed, as sentences.
    """

    index: NDArray[np.int64]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    subject: NDArray[np.int64]
    training: NDArray[np.bool_]
    notices: tuple[str, ...] = ()

    @property
    def num_shared(self) -> int:
        """Subjects with samples on both sides: 0 unless the split is by sample."""
        sides = (self.subject[self.training], self.subject[~self.training])
        return len(np.intersect1d(*sides))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def folds(self, seed: int, most: int = 5) -> list[Fold]:
        """Folds of the training side, whole subjects, stratified by their label.

        Args:
            seed: Seed of the draw.
            most: Largest number of folds; fewer where a class has fewer training subjects.

        Returns:
            (fit, score) pairs of places among the labelled samples, int64; empty if a class
            has fewer than two training subjects, so that nothing can be chosen.
        """
        place = np.flatnonzero(self.training)
        of_subject = main_label(self.y[place], self.subject[place])
        _, members = np.unique(list(of_subject.values()), return_counts=True)
        num_folds = min(most, int(members.min())) if len(members) > 1 else 0
        if num_folds < 2:
            return []
        subjects = self.subject[place].tolist()
        folds = subject_folds(subjects, [of_subject[code] for code in subjects], num_folds, seed)
        return [(place[fit], place[score]) for fit, score in folds]


def labelled_samples(cohort: PreparedCohort) -> LabelledSamples:
    """Code the labels of ``cohort`` and check that they can be learnt and tested.

    Raises:
        CohortError: If there is no label column or no split, if only one class or one
            subject carries a label, or if the training or the test side has one class only.
    """
    label, values = _label_column(cohort)
    if cohort.split is None:
        message = (
            "classification: these samples have no training and test side. Give the cohort "
            "that the model was trained on."
        )
        raise CohortError(message)
    known = values.notna().to_numpy()
    texts = values.where(values.notna(), "").astype(str).to_numpy()
    training = np.isin(cohort.split, ("train", "validation"))
    where = f"label column '{label}'"
    _require_classes(texts[known], where, "all samples with a label")
    owner = _owners(cohort.samples, cohort.roles)
    _require_subjects(owner[known], cohort.roles.subject)
    _require_classes(texts[known & training], where, "the training subjects (train, validation)")
    learnt = known & np.isin(texts, np.unique(texts[known & training]))
    _require_classes(texts[learnt & ~training], where, "the test subjects")
    classes = _ordered(sorted(set(texts[learnt])), cohort.roles.positive, where)
    code = {name: place for place, name in enumerate(classes)}
    return LabelledSamples(
        index=np.flatnonzero(learnt).astype(np.int64),
        y=np.array([code[text] for text in texts[learnt]], dtype=np.int64),
        classes=classes,
        subject=np.unique(owner[learnt], return_inverse=True)[1].astype(np.int64),
        training=training[learnt],
        notices=_notices(cohort, texts, known, learnt),
    )


def main_label(y: NDArray[np.int64], subject: NDArray[np.int64]) -> dict[int, int]:
    """The label most of a subject's samples carry (the lowest code if equal), by subject."""
    table = pd.crosstab(subject, y)
    return {
        int(key): int(code)
        for key, code in zip(table.index, table.columns[table.to_numpy().argmax(1)], strict=True)
    }


def _label_column(cohort: PreparedCohort) -> tuple[str, pd.Series]:
    label = cohort.roles.label
    columns = ", ".join(str(name) for name in cohort.samples.columns) or "none"
    if label is None or label not in cohort.samples.columns:
        found = "no label column is named" if label is None else f"there is no column '{label}'"
        message = (
            f"sample table: {found}, so nothing can be classified. Name one of its columns with "
            f"--label or under 'label:' in cohort.yaml; the columns are: {columns}."
        )
        raise CohortError(message)
    return label, cohort.samples[label]


def owner_codes(samples: pd.DataFrame, roles: Roles) -> NDArray[np.int64]:
    """Code of each sample's subject, ``(sample,)``; a sample without one is its own."""
    return np.asarray(pd.factorize(_owners(samples, roles))[0], dtype=np.int64)


def _owners(samples: pd.DataFrame, roles: Roles) -> NDArray[np.str_]:
    """Subject of each sample as text; a sample without one is its own."""
    subjects = subjects_of(samples, roles)
    own = pd.Series(samples.index, index=subjects.index)
    return np.asarray(subjects.where(subjects.notna(), own).astype(str))


def _require_subjects(owner: NDArray[np.str_], column: str | None) -> None:
    if len(np.unique(owner)) < 2:
        message = (
            f"column '{column}': all labelled samples come from one subject ('{owner[0]}'), "
            "expected at least two in each class. A label cannot be tested on unseen subjects; "
            "if this column does not name people, name another with --subject."
        )
        raise CohortError(message)


def _require_classes(texts: NDArray[np.str_], where: str, side: str) -> None:
    found = sorted(set(texts))
    if len(found) < 2:
        what = f"one class only ('{found[0]}')" if found else "no label"
        message = (
            f"{where}: expected at least two classes among {side}, found {what} in "
            f"{len(texts)} samples. Choose another label, or another seed or share of the split."
        )
        raise CohortError(message)


def _ordered(found: list[str], positive: str | None, where: str) -> tuple[str, ...]:
    if len(found) != 2 or positive is None:
        return tuple(found)
    if positive not in found:
        message = (
            f"{where}: the positive class is said to be '{positive}', but the classes are "
            f"{found}. Put one of these under 'positive:' in cohort.yaml."
        )
        raise CohortError(message)
    return (*(name for name in found if name != positive), positive)


def _notices(
    cohort: PreparedCohort,
    texts: NDArray[np.str_],
    known: NDArray[np.bool_],
    learnt: NDArray[np.bool_],
) -> tuple[str, ...]:
    notices = []
    if not known.all():
        notices.append(f"{int((~known).sum())} of {len(known)} samples carry no label: left out.")
    if (known & ~learnt).any():
        unseen = ", ".join(f"'{name}'" for name in sorted(set(texts[known & ~learnt])))
        notices.append(
            f"{int((known & ~learnt).sum())} test samples left out: their class ({unseen}) "
            "stands in no training subject."
        )
    if cohort.roles.subject is None:
        notices.append(NO_SUBJECTS)
    return tuple(notices)
