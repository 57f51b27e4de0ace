"""Simple baselines for the label that use no latent: late fusion, and the pattern alone.

Settings are chosen inside the training subjects, as for every `Method`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import Ranked, by_subject
from immo_hpc.analysis.choice import Choice, choose, class_scores, fitted, subject_auc
from immo_hpc.analysis.classifiers import LOGISTIC, Classifier
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.methods import Method, Places, on_matrix
from immo_hpc.data.prepared import PreparedCohort


@dataclass(frozen=True)
class _LayerModel:
    """The logistic regression of one layer.

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
        """Those of ``score`` that have the layer (places in it), and their scores."""
        fit = fit[self.place[fit] >= 0]
        held = np.flatnonzero(self.place[score] >= 0)
        factory = LOGISTIC.settings[self.choice.setting]
        estimator = fitted(factory, self.x[self.place[fit]], data.y[fit], seed)
        rows = self.x[self.place[score[held]]]
        return held, class_scores(estimator, rows, data.num_classes)


def layers_only(
    cohort: PreparedCohort, data: LabelledSamples, folds: list[Fold], seed: int
) -> Method:
    """Which layers a sample has, and nothing else: what the missing pattern gives away."""
    measured = cohort.measured()[data.index].astype(np.float32)
    kind = Classifier("layers_only", "Which layers exist, nothing else", LOGISTIC.settings)
    return on_matrix(kind, "baseline", measured, data, folds, seed)


def late_fusion(
    cohort: PreparedCohort, data: LabelledSamples, folds: list[Fold], seed: int
) -> tuple[Method, Method]:
    """A logistic regression per layer, fused in two ways over the layers a sample has.

    Returns:
        ``late_fusion``: the mean of the layers' logits. ``weighted_fusion``: logits are
        averaged within a subject first, then layers are weighted by their AUC above chance
        inside the training subjects; all samples of a subject get its score.
    """
    layers = {
        name: _layer_model(cohort, name, data, folds, seed)
        for name in cohort.layers
        if len(cohort.layers[name].rows)
    }
    told = ", ".join(f"{name}: {layer.choice.setting}" for name, layer in layers.items())
    weights = ", ".join(f"{name}: {layer.weight:.2f}" for name, layer in layers.items())

    def plain(fit: Places, score: Places) -> NDArray[np.float64]:
        return _mean_of_layers(layers, data, fit, score, seed)

    def weighted(fit: Places, score: Places) -> NDArray[np.float64]:
        return _weighted_by_subject(layers, data, fit, score, seed)

    return (
        Method(
            "late_fusion",
            "Late fusion: logistic regression per layer, averaged",
            "baseline",
            told,
            _fused_auc(layers, data, folds),
            plain,
        ),
        Method(
            "weighted_fusion",
            "Late fusion by subject, layers weighted by training AUC",
            "baseline",
            weights,
            float("nan"),
            weighted,
        ),
    )


def _layer_model(
    cohort: PreparedCohort, name: str, data: LabelledSamples, folds: list[Fold], seed: int
) -> _LayerModel:
    layer = cohort.layers[name]
    row = np.full(len(cohort.samples), -1, dtype=np.int64)
    row[layer.rows] = np.arange(len(layer.rows))
    held = np.flatnonzero(row[data.index] >= 0)
    place = np.full(len(data.index), -1, dtype=np.int64)
    place[held] = np.arange(len(held))
    x = np.nan_to_num(layer.values[row[data.index[held]]])
    own = LabelledSamples(held, data.y[held], data.classes, data.subject[held], data.training[held])
    own_folds = [
        (place[fit[place[fit] >= 0]], place[score[place[score] >= 0]]) for fit, score in folds
    ]
    choice = choose(LOGISTIC, x, own, own_folds, seed)
    weight = max(2 * choice.auc - 1, 0.0) if np.isfinite(choice.auc) else 0.0
    return _LayerModel(x, place, choice, weight)


def _mean_of_layers(
    layers: Mapping[str, _LayerModel],
    data: LabelledSamples,
    fit: Places,
    score: Places,
    seed: int,
) -> NDArray[np.float64]:
    parts = [layer.scores(data, fit, score, seed) for layer in layers.values()]
    return _mean(parts, [1.0] * len(parts), len(score), data)


def _weighted_by_subject(
    layers: Mapping[str, _LayerModel],
    data: LabelledSamples,
    fit: Places,
    score: Places,
    seed: int,
) -> NDArray[np.float64]:
    subjects, subject = np.unique(data.subject[score], return_inverse=True)
    parts, weights = [], [layer.weight for layer in layers.values()]
    for layer in layers.values():
        held, scores = layer.scores(data, fit, score, seed)
        one_label = np.zeros(len(held), dtype=np.int64)  # The truth plays no part in scoring.
        mean = by_subject(Ranked(scores, one_label, subject[held]))
        parts.append((mean.subject, mean.scores))
    if not any(weights):
        weights = [1.0] * len(weights)
    return _mean(parts, weights, len(subjects), data)[subject]


def _mean(
    parts: list[tuple[Places, NDArray[np.float64]]],
    weights: list[float],
    num_items: int,
    data: LabelledSamples,
) -> NDArray[np.float64]:
    """Weighted mean of each item's parts; 0, the logit of not knowing, where it has none."""
    total = np.zeros((num_items, 1 if data.num_classes == 2 else data.num_classes))
    count = np.zeros((num_items, 1))
    for (held, scores), weight in zip(parts, weights, strict=True):
        total[held] += weight * scores
        count[held] += weight
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _fused_auc(
    layers: Mapping[str, _LayerModel], data: LabelledSamples, folds: list[Fold]
) -> float:
    """Subject-level AUC of the mean of the layers' out-of-fold logits, mean over folds."""
    values = []
    for _, score in folds:
        parts = []
        for layer in layers.values():
            held = np.flatnonzero(layer.place[score] >= 0)
            scores = layer.choice.out_of_fold[layer.place[score[held]]]
            known = np.isfinite(scores).all(axis=1)
            parts.append((held[known], scores[known]))
        fused = _mean(parts, [1.0] * len(parts), len(score), data)
        values.append(subject_auc(fused, data, score))
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
