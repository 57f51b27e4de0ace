"""One logistic regression a layer: an expert on the samples that have the layer.

Settings are chosen inside the training subjects, as for every `Method`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.choice import Choice, choose, class_scores, fitted
from immo_hpc.analysis.classifiers import BALANCED_LOGISTIC
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.methods import Places
from immo_hpc.data.prepared import PreparedCohort


@dataclass(frozen=True)
class Expert:
    """The logistic regression of one layer, or of any features that some samples have.

    Attributes:
        x: Its features, ``(row, feature)``, float32, missing = 0.
        place: Place of each labelled sample in ``x``, ``(sample,)``, int64, -1 = no row.
        choice: Its setting, chosen inside the training subjects, by place in ``x``.
        weight: Its AUC inside the training subjects above chance, >= 0.
    """

    x: NDArray[np.float32]
    place: NDArray[np.int64]
    choice: Choice
    weight: float

    def scores(
        self, data: LabelledSamples, fit: Places, score: Places, seed: int
    ) -> tuple[Places, NDArray[np.float64]]:
        """Those of ``score`` that have the features (places in it), and their scores."""
        fit = fit[self.place[fit] >= 0]
        held = np.flatnonzero(self.place[score] >= 0)
        factory = BALANCED_LOGISTIC.settings[self.choice.setting]
        estimator = fitted(factory, self.x[self.place[fit]], data.y[fit], seed)
        rows = self.x[self.place[score[held]]]
        return held, class_scores(estimator, rows, data.num_classes)

    def evidence(
        self,
        data: LabelledSamples,
        fit: Places,
        score: Places,
        subject: NDArray[np.int64],
        num_subjects: int,
        seed: int,
    ) -> NDArray[np.float64]:
        """Mean score of each subject's samples, ``(subject, column)``, NaN where it has none.

        Args:
            data: The labelled samples.
            fit: Places to fit to.
            score: Places to score, ``(item,)``.
            subject: Which subject each of them belongs to, ``(item,)``.
            num_subjects: Number of subjects.
            seed: Seed of estimators that draw.
        """
        held, scores = self.scores(data, fit, score, seed)
        return _means(scores, subject[held], num_subjects)

    def out_of_fold_evidence(
        self, place: Places, subject: NDArray[np.int64], num_subjects: int
    ) -> NDArray[np.float64]:
        """As `evidence`, of training samples by models that had not seen their subjects."""
        held = np.flatnonzero(self.place[place] >= 0)
        scores = self.choice.out_of_fold[self.place[place[held]]]
        known = np.isfinite(scores).all(axis=1)
        return _means(scores[known], subject[held[known]], num_subjects)


def layer_experts(
    cohort: PreparedCohort, data: LabelledSamples, folds: list[Fold], seed: int
) -> dict[str, Expert]:
    """An expert for each layer that any sample has."""
    experts = {}
    for name, layer in cohort.layers.items():
        if len(layer.rows):
            row = np.full(len(cohort.samples), -1, dtype=np.int64)
            row[layer.rows] = np.arange(len(layer.rows))
            experts[name] = learn_expert(layer.values, row[data.index], data, folds, seed)
    return experts


def learn_expert(
    values: NDArray[np.floating[Any]],
    row: NDArray[np.int64],
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
) -> Expert:
    """Choose the setting of an expert inside the training subjects.

    Args:
        values: Features, ``(row, feature)``, NaN = missing.
        row: Row of each labelled sample in ``values``, ``(sample,)``, -1 = none.
        data: The labelled samples.
        folds: Folds of the training subjects.
        seed: Seed of estimators that draw.
    """
    held = np.flatnonzero(row >= 0)
    place = np.full(len(row), -1, dtype=np.int64)
    place[held] = np.arange(len(held))
    x = np.nan_to_num(values[row[held]]).astype(np.float32, copy=False)
    own = LabelledSamples(held, data.y[held], data.classes, data.subject[held], data.training[held])
    own_folds = [
        (place[fit[place[fit] >= 0]], place[score[place[score] >= 0]]) for fit, score in folds
    ]
    choice = choose(BALANCED_LOGISTIC, x, own, own_folds, seed)
    weight = max(2 * choice.auc - 1, 0.0) if np.isfinite(choice.auc) else 0.0
    return Expert(x, place, choice, weight)


def _means(
    scores: NDArray[np.float64], subject: NDArray[np.int64], num_subjects: int
) -> NDArray[np.float64]:
    total = np.zeros((num_subjects, scores.shape[1]))
    np.add.at(total, subject, scores)
    count = np.bincount(subject, minlength=num_subjects)[:, None]
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
