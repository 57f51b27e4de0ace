"""Methods for the label that learn no representation, and the mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from immo_hpc.analysis.baselines import late_fusion, layers_only
from immo_hpc.analysis.choice import Choice, choose, class_scores, fitted
from immo_hpc.analysis.classifiers import CLASSIFIERS, LOGISTIC, Classifier
from immo_hpc.analysis.compare.contender import LabelTask, Learnt, Table
from immo_hpc.analysis.compare.lowrank import visible_mean
from immo_hpc.analysis.hiding import columns
from immo_hpc.analysis.labels import LabelledSamples
from immo_hpc.analysis.methods import Method, Places, on_matrix
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort

# Components of each layer in intermediate fusion.
_COMPONENTS = 20

ByLabel = Callable[[PreparedCohort, ImmoConfig], Learnt]


def learn_mean(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """Fill with the training mean; the label by logistic regression on all features."""
    mean = visible_mean(training)
    places = columns(training)

    def values(cohort: PreparedCohort) -> Mapping[str, Table]:
        number = len(cohort.samples)
        return {name: np.tile(mean[place], (number, 1)) for name, place in places.items()}

    return Learnt(
        label=lambda task: _on_filled(task, LOGISTIC, mean),
        layer=lambda cohort, name: values(cohort)[name],
        values=values,
    )


def by_trees(name: str) -> ByLabel:
    """A classifier of `CLASSIFIERS` on features filled with the training mean."""

    def learn(training: PreparedCohort, config: ImmoConfig) -> Learnt:
        mean = visible_mean(training)
        return Learnt(label=lambda task: _on_filled(task, CLASSIFIERS[name], mean))

    return learn


def learn_layers_only(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """Which layers a sample has, and nothing else."""
    return Learnt(label=lambda task: layers_only(task.cohort, task.data, task.folds, task.seed))


def by_fusion(name: str) -> ByLabel:
    """One of the fusions of a logistic regression per layer."""

    def label(task: LabelTask) -> Method:
        methods = late_fusion(task.cohort, task.data, task.folds, task.seed)
        return next(method for method in methods if method.name == name)

    return lambda training, config: Learnt(label=label)


def learn_intermediate(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """Principal components of each layer side by side, then one logistic regression."""
    bases = {}
    for name, layer in training.layers.items():
        number = min(_COMPONENTS, *layer.values.shape)
        if number:
            bases[name] = PCA(number, random_state=config.seed).fit(np.nan_to_num(layer.values))

    def label(task: LabelTask) -> Method:
        blocks = []
        for name, basis in bases.items():
            layer = task.cohort.layers[name]
            block = np.zeros((len(task.cohort.samples), basis.n_components_))
            if len(layer.rows):
                block[layer.rows] = basis.transform(np.nan_to_num(layer.values))
            # Layers count alike, whatever their number of features.
            blocks.append(block / np.sqrt(max(basis.explained_variance_.sum(), 1e-12)))
        x = np.concatenate(blocks, axis=1)[task.data.index]
        return on_matrix(LOGISTIC, "raw", x, task.data, task.folds, task.seed)

    return Learnt(label=label)


def learn_complete(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """Logistic regression on samples that have every layer; it says nothing of the others."""
    return Learnt(label=_complete_cases)


def _complete_cases(task: LabelTask) -> Method:
    data = task.data
    whole = np.asarray(task.cohort.measured()[data.index].all(axis=1))
    x = np.nan_to_num(task.cohort.wide()[data.index])
    folds = [(fit[whole[fit]], score[whole[score]]) for fit, score in task.folds]
    choice: Choice = choose(LOGISTIC, x, data, folds, task.seed)

    def scores(fit: Places, score: Places) -> NDArray[np.float64]:
        fit, held = fit[whole[fit]], whole[score]
        estimator = fitted(LOGISTIC.settings[choice.setting], x[fit], data.y[fit], task.seed)
        said = np.zeros((len(score), _num_columns(data)))
        # 0 is the score of not knowing.
        said[held] = class_scores(estimator, x[score[held]], data.num_classes)
        return said

    return Method("complete", "Complete cases", "raw", choice.setting, choice.auc, scores)


def _on_filled(task: LabelTask, kind: Classifier, mean: NDArray[np.float64]) -> Method:
    x = task.cohort.wide()[task.data.index]
    x = np.where(np.isnan(x), mean.astype(np.float32), x)
    method = on_matrix(kind, "raw", x, task.data, task.folds, task.seed)
    return replace(method, setting=f"{kind.title}, {method.setting}")


def _num_columns(data: LabelledSamples) -> int:
    return 1 if data.num_classes == 2 else data.num_classes
