"""A way to score samples, with its settings already chosen inside the training subjects.

The same method is then fitted to any samples and asked about any others, so that it serves
the subject split and the sample split alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.choice import choose, class_scores, fitted
from immo_hpc.analysis.classifiers import Classifier
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.results import Source
from immo_hpc.analysis.span import leading_components

Places = NDArray[np.int64]

# Beyond so many features, classifiers that do not read wide tables get so many components.
_WIDE, _COMPONENTS = 2048, 256


@dataclass(frozen=True)
class Method:
    """A way to score samples whose settings are already chosen.

    Attributes:
        name: Short name.
        title: Name for people.
        source: What it sees (`MethodScore.source`).
        setting: What was chosen, as text.
        training_auc: As in `MethodScore`.
        scores: From places to fit and places to score, among the labelled samples, to
            scores ``(sample, column)``, float64.
    """

    name: str
    title: str
    source: Source
    setting: str
    training_auc: float
    scores: Callable[[Places, Places], NDArray[np.float64]]


def on_matrix(
    classifier: Classifier,
    source: Source,
    x: NDArray[np.floating[Any]],
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
    *,
    title: str | None = None,
    always_score: bool = False,
) -> Method:
    """One classifier on one table of inputs.

    Args:
        classifier: Kind and settings; they are compared over ``folds`` if there are several.
        source: What the inputs are.
        x: Inputs of the labelled samples, ``(sample, feature)``, no NaN. Of more than 2048
            features, a classifier that does not read wide tables gets the 256 leading
            principal components of the training samples.
        data: Their labels.
        folds: Folds inside the training subjects.
        seed: Seed of estimators that draw.
        title: Name for people instead of the classifier's.
        always_score: Score a single setting too, which needs no choice.
    """
    needed = always_score or len(classifier.settings) > 1
    suffix = ""
    if x.shape[1] > _WIDE and not classifier.reads_wide:
        x = leading_components(x, data.training, _COMPONENTS, seed)
        suffix = f", {x.shape[1]} principal components"
    choice = choose(classifier, x, data, folds if needed else [], seed)
    factory = classifier.settings[choice.setting]

    known: dict[bytes, Any] = {}

    def scores(fit: Places, score: Places) -> NDArray[np.float64]:
        # Asked about several parts of the test samples, it is fitted once.
        key = fit.tobytes()
        if key not in known:
            known[key] = fitted(factory, x[fit], data.y[fit], seed)
        return class_scores(known[key], x[score], data.num_classes)

    setting = choice.setting + suffix
    return Method(classifier.name, title or classifier.title, source, setting, choice.auc, scores)
