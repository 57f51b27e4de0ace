"""Simple baselines for the label that use no latent: late fusion, and the pattern alone.

Settings are chosen inside the training subjects, as for every `Method`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.choice import subject_auc
from immo_hpc.analysis.classifiers import LOGISTIC, Classifier
from immo_hpc.analysis.experts import Expert, layer_experts
from immo_hpc.analysis.fusion import product_of
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.methods import Method, Places, on_matrix
from immo_hpc.data.prepared import PreparedCohort


def layers_only(
    cohort: PreparedCohort, data: LabelledSamples, folds: list[Fold], seed: int
) -> Method:
    """Which layers a sample has, and nothing else: what the missing pattern gives away."""
    measured = cohort.measured()[data.index].astype(np.float32)
    kind = Classifier("layers_only", "Which layers exist, nothing else", LOGISTIC.settings)
    return on_matrix(kind, "baseline", measured, data, folds, seed)


def late_fusion(
    cohort: PreparedCohort, data: LabelledSamples, folds: list[Fold], seed: int
) -> tuple[Method, Method, Method]:
    """A logistic regression per layer, fused in three ways over the layers a sample has.

    Returns:
        ``late_fusion``: the mean of the layers' logits. ``weighted_fusion``: logits are
        averaged within a subject first, then layers are weighted by their AUC above chance
        inside the training subjects. ``product``: evidence is averaged within a subject and
        layer, and added up over layers with weights learnt inside the training subjects
        (`immo_hpc.analysis.product`). With the last two all samples of a subject get its score.
    """
    layers = layer_experts(cohort, data, folds, seed)
    told = ", ".join(f"{name}: {layer.setting}" for name, layer in layers.items())
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
        product_of(layers, data, folds, seed),
    )


def _mean_of_layers(
    layers: Mapping[str, Expert],
    data: LabelledSamples,
    fit: Places,
    score: Places,
    seed: int,
) -> NDArray[np.float64]:
    parts = [layer.scores(data, fit, score, seed) for layer in layers.values()]
    return _mean(parts, [1.0] * len(parts), len(score), data)


def _weighted_by_subject(
    layers: Mapping[str, Expert],
    data: LabelledSamples,
    fit: Places,
    score: Places,
    seed: int,
) -> NDArray[np.float64]:
    subjects, subject = np.unique(data.subject[score], return_inverse=True)
    parts, weights = [], [layer.weight for layer in layers.values()]
    for layer in layers.values():
        evidence = layer.evidence(data, fit, score, subject, len(subjects), seed)
        known = np.flatnonzero(np.isfinite(evidence).all(axis=1))
        parts.append((known, evidence[known]))
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


def _fused_auc(layers: Mapping[str, Expert], data: LabelledSamples, folds: list[Fold]) -> float:
    """Subject-level AUC of the mean of the layers' out-of-fold logits, mean over folds."""
    values = []
    for _, score in folds:
        parts = []
        for layer in layers.values():
            held = np.flatnonzero(layer.place[score] >= 0)
            scores = layer.out_of_fold[layer.place[score[held]]]
            known = np.isfinite(scores).all(axis=1)
            parts.append((held[known], scores[known]))
        fused = _mean(parts, [1.0] * len(parts), len(score), data)
        values.append(subject_auc(fused, data, score))
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")
