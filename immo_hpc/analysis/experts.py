"""One linear classifier a layer: an expert on the subjects whose samples have the layer.

It reads the values of a sample or their ranks within it, whichever tells more about training
subjects it has not seen. What it says of a subject is the mean over its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import Ranked, by_subject, macro_auc
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.linear import Linear, fit_linear, subject_means, subject_weights
from immo_hpc.analysis.methods import Places
from immo_hpc.analysis.ranks import in_sample_ranks
from immo_hpc.analysis.span import Span, span_of
from immo_hpc.data.prepared import PreparedCohort

Array = NDArray[np.float64]
Values = NDArray[np.floating[Any]]

VIEWS: Mapping[str, Callable[[Values], NDArray[np.float32]]] = {
    "values": lambda values: np.nan_to_num(values).astype(np.float32, copy=False),
    "ranks": in_sample_ranks,
}
# Variance of a sample's log-odds before anything is learnt (`fit_linear`).
_STRENGTHS = (1.0, 10.0)


@dataclass(frozen=True)
class Expert:
    """The classifier of one layer, or of any features that some samples have.

    Attributes:
        view: Key of `VIEWS`: what it reads. It is linear in that.
        strength: As for `fit_linear`.
        unit: What features as `VIEWS` shows them are divided by, ``(feature,)``, float32.
        x: Its features in these units, ``(row, feature)``, float32.
        place: Row of each labelled sample in ``x``, ``(sample,)``, int64, -1 = none.
        span: Directions of the training samples' rows.
        coordinates: Rows of ``x`` along them, ``(row, direction)``.
        out_of_fold: Scores of training samples by models that saw other subjects,
            ``(row, column)``, NaN where there is none.
        training_auc: Subject-level AUC of these scores; NaN where there are none.
    """

    view: str
    strength: float
    unit: NDArray[np.float32]
    x: NDArray[np.float32]
    place: NDArray[np.int64]
    span: Span
    coordinates: Values
    out_of_fold: Array
    training_auc: float
    _fits: dict[tuple[bytes, bytes], Linear] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def setting(self) -> str:
        """What was chosen inside the training subjects, as text."""
        return f"{self.view}, strength {self.strength:g}"

    @property
    def weight(self) -> float:
        """AUC above chance inside the training subjects, >= 0."""
        return max(2 * self.training_auc - 1, 0.0) if np.isfinite(self.training_auc) else 0.0

    def fitted(self, data: LabelledSamples, fit: Places, seed: int) -> Linear:
        """The classifier learnt from those of ``fit`` that have the features.

        Its weights are those of the features as `VIEWS` shows them.
        """
        linear = self._fitted(data, fit, seed)
        return Linear(linear.weight / self.unit[:, None], linear.intercept)

    def _fitted(self, data: LabelledSamples, fit: Places, seed: int) -> Linear:
        """The same for features in their units, kept for the next who asks."""
        fit = fit[self.place[fit] >= 0]
        key = fit.tobytes(), data.y[fit].tobytes()
        if key not in self._fits:
            rows, span, z = self.place[fit], self.span, self.coordinates
            if not data.training[fit].all():
                # Others' rows may point where those of the training samples do not.
                span = span_of(self.x[rows], seed)
                z = span.coordinates(self.x)
            own = fit_linear(
                z[rows], data.y[fit], data.subject[fit], data.num_classes, self.strength
            )
            self._fits[key] = Linear(span.to_features(own.weight), own.intercept)
        return self._fits[key]

    def scores(
        self, data: LabelledSamples, fit: Places, score: Places, seed: int
    ) -> tuple[Places, Array]:
        """Those of ``score`` that have the features (places in it), and their scores."""
        held = np.flatnonzero(self.place[score] >= 0)
        linear = self._fitted(data, fit, seed)
        return held, linear.scores(self.x[self.place[score[held]]])

    def evidence(
        self,
        data: LabelledSamples,
        fit: Places,
        score: Places,
        subject: NDArray[np.int64],
        num_subjects: int,
        seed: int,
    ) -> Array:
        """Mean score of each subject's samples, ``(subject, column)``, NaN where it has none.

        Args:
            data: The labelled samples.
            fit: Places to fit to.
            score: Places to score, ``(item,)``.
            subject: Which subject each of them belongs to, ``(item,)``.
            num_subjects: Number of subjects.
            seed: Seed of directions where rows and features are many.
        """
        held, scores = self.scores(data, fit, score, seed)
        return subject_means(scores, subject[held], num_subjects)

    def out_of_fold_evidence(
        self, place: Places, subject: NDArray[np.int64], num_subjects: int
    ) -> Array:
        """As `evidence`, of training samples by models that had not seen their subjects."""
        held = np.flatnonzero(self.place[place] >= 0)
        return subject_means(self.out_of_fold[self.place[place[held]]], subject[held], num_subjects)


def layer_experts(
    cohort: PreparedCohort,
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
    views: tuple[str, ...] = tuple(VIEWS),
) -> dict[str, Expert]:
    """An expert for each layer that any sample has; arguments as for `learn_expert`."""
    experts = {}
    for name, layer in cohort.layers.items():
        if len(layer.rows):
            row = np.full(len(cohort.samples), -1, dtype=np.int64)
            row[layer.rows] = np.arange(len(layer.rows))
            experts[name] = learn_expert(layer.values, row[data.index], data, folds, seed, views)
    return experts


def learn_expert(
    values: Values,
    row: NDArray[np.int64],
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
    views: tuple[str, ...] = tuple(VIEWS),
) -> Expert:
    """Choose view and strength of an expert inside the training subjects.

    The choice goes by the subject-level AUC of out-of-fold scores; without folds the first
    view and strength stand.

    Args:
        values: Features, ``(row, feature)``, NaN = missing.
        row: Row of each labelled sample in ``values``, ``(sample,)``, -1 = none.
        data: The labelled samples.
        folds: Folds of the training subjects.
        seed: Seed of directions where rows and features are many.
        views: Keys of `VIEWS` to choose from.
    """
    held = np.flatnonzero(row >= 0)
    place = np.full(len(row), -1, dtype=np.int64)
    place[held] = np.arange(len(held))
    num_columns = 1 if data.num_classes == 2 else data.num_classes
    nothing = np.full((len(held), num_columns), np.nan)
    best: Expert | None = None
    for view in views:
        x = VIEWS[view](values[row[held]])
        unit = np.ones(x.shape[1], dtype=np.float32)
        if view == "ranks" and data.training[held].any():
            # Values come as z-scores; ranks of features that vary little would hardly count.
            unit = _spread(x[data.training[held]], data.subject[held][data.training[held]])
            x /= unit
        span = span_of(x[data.training[held]], seed)
        blank = Expert(view, 1.0, unit, x, place, span, span.coordinates(x), nothing, float("nan"))
        for strength in _STRENGTHS:
            # Each has fits of its own.
            expert = _scored(replace(blank, strength=strength, _fits={}), data, folds, seed)
            if best is None or np.nan_to_num(expert.training_auc, nan=-1.0) > np.nan_to_num(
                best.training_auc, nan=-1.0
            ):
                best = expert
    assert best is not None
    return best


def _spread(x: NDArray[np.float32], subject: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standard deviation of each feature, subjects counting alike; 1 where nothing varies."""
    weight = subject_weights(np.zeros_like(subject), subject)
    weight /= weight.sum()
    square = np.einsum("r,rf,rf->f", weight, x, x) - (weight @ x) ** 2
    return np.sqrt(np.where(square > 1e-8, square, 1)).astype(np.float32)


def _scored(expert: Expert, data: LabelledSamples, folds: list[Fold], seed: int) -> Expert:
    """The expert with its out-of-fold scores."""
    out_of_fold = expert.out_of_fold.copy()
    for fit, score in folds:
        held, scores = expert.scores(data, fit, score, seed)
        out_of_fold[expert.place[score[held]]] = scores
    expert._fits.clear()  # No longer of use, and there is one for each fold.
    training = np.flatnonzero(data.training & (expert.place >= 0))
    scores = out_of_fold[expert.place[training]]
    known = np.isfinite(scores).all(axis=1)
    people = training[known]
    auc = float("nan")
    if len(people):
        ranked = Ranked(scores[known], data.y[people], data.subject[people])
        auc = float(macro_auc(by_subject(ranked))[0])
    return replace(expert, out_of_fold=out_of_fold, training_auc=auc)
