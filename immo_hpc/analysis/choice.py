"""Fitting and scoring a classifier, and choosing its setting inside the training subjects.

Legend of shapes: ``sample``, ``feature``; ``column`` as in `immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from immo_hpc.analysis.bootstrap import Ranked, by_subject, macro_auc
from immo_hpc.analysis.classifiers import Classifier, Factory
from immo_hpc.analysis.labels import Fold, LabelledSamples


@dataclass(frozen=True)
class Choice:
    """A setting chosen inside the training subjects.

    Attributes:
        setting: Key of `Classifier.settings`.
        auc: Its subject-level AUC, mean over folds; NaN where there were no folds.
        out_of_fold: Scores of the training samples by models that saw other subjects,
            ``(sample, column)``, NaN where no fold scored a sample.
    """

    setting: str
    auc: float
    out_of_fold: NDArray[np.float64]


def fitted(factory: Factory, x: NDArray[np.floating[Any]], y: NDArray[np.int64], seed: int) -> Any:
    """The estimator fitted to ``x``; a class with a single sample is left out.

    Returns:
        The fitted estimator, or None if fewer than two classes are left.
    """
    codes, count = np.unique(y, return_counts=True)
    usable = codes[count > 1]
    if len(usable) < 2:
        return None
    held = np.isin(y, usable)
    with warnings.catch_warnings():
        # One that stopped early is a classifier like any other: folds tell what it is worth.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return factory(seed).fit(x[held], y[held])


def class_scores(
    estimator: Any, x: NDArray[np.floating[Any]], num_classes: int
) -> NDArray[np.float64]:
    """Score of each sample for each class, ``(sample, column)``, float64.

    A class that the estimator did not see scores 0 everywhere, so that its AUC is 0.5; so
    does everything if ``estimator`` is None.
    """
    scores = np.zeros((len(x), num_classes))
    if estimator is not None and len(x):
        seen = np.asarray(estimator.classes_)
        if hasattr(estimator, "decision_function"):
            raw = np.asarray(estimator.decision_function(x), dtype=np.float64)
        else:
            raw = np.asarray(estimator.predict_proba(x), dtype=np.float64)
        if raw.ndim == 1:
            raw = np.stack([-raw, raw], axis=1)
        scores[:, seen] = raw
    return scores[:, 1:] if num_classes == 2 else scores


def choose(
    classifier: Classifier,
    x: NDArray[np.floating[Any]],
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
) -> Choice:
    """The setting with the best subject-level AUC over ``folds`` of the training subjects.

    Args:
        classifier: The kind and its settings.
        x: Inputs of all labelled samples, ``(sample, feature)``, no NaN.
        data: Their labels; samples outside ``folds`` are not touched.
        folds: (fit, score) pairs of places in ``x``; if there are none, the middle setting.
        seed: Seed of estimators that draw.
    """
    num_columns = 1 if data.num_classes == 2 else data.num_classes
    settings = list(classifier.settings)
    nothing = np.full((len(x), num_columns), np.nan)
    best = Choice(settings[len(settings) // 2], float("nan"), nothing)
    for setting, factory in classifier.settings.items():
        out_of_fold, values = nothing.copy(), []
        for fit, score in folds:
            estimator = fitted(factory, x[fit], data.y[fit], seed)
            out_of_fold[score] = class_scores(estimator, x[score], data.num_classes)
            values.append(subject_auc(out_of_fold[score], data, score))
        defined = [value for value in values if np.isfinite(value)]
        if defined and not np.mean(defined) <= best.auc:  # The first is better than NaN.
            best = Choice(setting, float(np.mean(defined)), out_of_fold)
    return best


def subject_auc(
    scores: NDArray[np.float64], data: LabelledSamples, place: NDArray[np.int64]
) -> float:
    """AUC over subjects of the samples at ``place``, NaN where one class is absent."""
    if not len(place):
        return float("nan")
    ranked = Ranked(scores, data.y[place], data.subject[place])
    return float(macro_auc(by_subject(ranked))[0])
