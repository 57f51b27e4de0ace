"""Methods that foretell one layer from the others by regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.cross_decomposition import PLSRegression

from immo_hpc.analysis.classifiers import Classifier, Factory
from immo_hpc.analysis.compare.contender import LabelTask, Learnt, Table
from immo_hpc.analysis.compare.tuning import Candidate, sides, tuned
from immo_hpc.analysis.hiding import at_most, columns, filled
from immo_hpc.analysis.methods import Method, on_matrix
from immo_hpc.analysis.ridge import Kernel, predict_layer, predict_values
from immo_hpc.companion.carried import fit_carried
from immo_hpc.config import ImmoConfig
from immo_hpc.data.hiding import has_both, hide_values
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, is_visits, measured_layers

_COMPONENTS = (2, 5, 10, 20)
_HIDDEN_SHARE = 0.1


def learn_ridge(training: PreparedCohort, config: ImmoConfig, kernel: Kernel = "linear") -> Learnt:
    """Ridge regression of each layer on the others, and of each feature on all others.

    With the RBF kernel there is no closed form for all features at once: layers only.
    """
    train, tuning = sides(training, config.seed)

    def layer(cohort: PreparedCohort, name: str) -> Table:
        away = _away(cohort, name)
        source, target = _pair(train, name, away, config.seed)
        other = _pair(tuning, name, away, config.seed)
        x = filled(cohort.without(*away))
        return predict_layer(source, np.nan_to_num(target), other, x, kernel)

    def values(cohort: PreparedCohort) -> Mapping[str, Table]:
        return _ridge_values(train, tuning, cohort, config.seed)

    setting = "penalty chosen for each layer"
    return Learnt(layer=layer, values=values if kernel == "linear" else None, setting=setting)


def learn_visits(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """What a person's other visits say, a slope for each feature; the mean without them."""
    if not any(map(is_visits, training.layers)):
        return Learnt(values=lambda cohort: {name: _mean(cohort, name) for name in cohort.layers})
    carried = fit_carried(training)

    def layer(cohort: PreparedCohort, name: str) -> Table:
        return carried.said(cohort, name, np.arange(len(cohort.samples)))

    def values(cohort: PreparedCohort) -> Mapping[str, Table]:
        return {name: layer(cohort, name) for name in measured_layers(cohort)}

    return Learnt(layer=layer, values=values)


def learn_pls(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """Partial least squares of each layer on the others; discriminant analysis for the label."""
    train, tuning = sides(training, config.seed)

    @cache
    def fitted(name: str, away: tuple[str, ...]) -> Pls:
        source, target = _pair(train, name, away, config.seed)
        return Pls.fit(source, np.nan_to_num(target), max(_COMPONENTS))

    def layer(cohort: PreparedCohort, name: str, number: int) -> Table:
        away = _away(cohort, name)
        return fitted(name, away).predict(filled(cohort.without(*away)), number)

    candidates = [
        Candidate(f"{number} components", partial(layer, number=number)) for number in _COMPONENTS
    ]
    learnt, _ = tuned(candidates, tuning, config.seed)
    return replace(learnt, label=_discriminant)


@dataclass(frozen=True)
class Pls:
    """Partial least squares that can be asked with any number of its components."""

    x_mean: NDArray[np.float64]
    y_mean: NDArray[np.float64]
    rotations: NDArray[np.float64]
    loadings: NDArray[np.float64]

    @classmethod
    def fit(cls, x: Table, y: Table, most: int) -> Self:
        """Fit up to ``most`` components of ``x`` (row, input) to ``y`` (row, target)."""
        number = max(1, min(most, x.shape[1], len(x) - 1))
        pls = PLSRegression(number, scale=False).fit(x, y)
        means = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
        return cls(*means, pls.x_rotations_, pls.y_loadings_)

    def predict(self, x: Table, number: int) -> Table:
        """Targets by the first ``number`` components, ``(row, target)``."""
        scores = (x - self.x_mean) @ self.rotations[:, :number]
        return np.asarray(self.y_mean + scores @ self.loadings[:, :number].T)


class PlsDiscriminant(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped.
    """Partial least squares regression of class membership."""

    def __init__(self, num_components: int = 2) -> None:
        self.num_components = num_components

    def fit(self, x: Table, y: NDArray[np.int64]) -> Self:
        """Learn from ``x`` (sample, feature) and class codes ``y``."""
        self.classes_ = np.unique(y)
        self.pls_ = Pls.fit(x, (y[:, None] == self.classes_).astype(float), self.num_components)
        return self

    def decision_function(self, x: Table) -> NDArray[np.float64]:
        """Membership of each class, ``(sample, class)``, or of the second of two, ``(sample,)``."""
        said = self.pls_.predict(x, self.num_components)
        return np.asarray(said[:, 1] - said[:, 0] if said.shape[1] == 2 else said)


def _pls_factory(number: int) -> Factory:
    return lambda seed: PlsDiscriminant(number)


_PLS_DA = Classifier(
    "pls",
    "PLS discriminant analysis",
    {f"{number} components": _pls_factory(number) for number in (1, 2, 3, 5, 10)},
)


def _discriminant(task: LabelTask) -> Method:
    x = filled(task.cohort)[task.data.index]
    return on_matrix(_PLS_DA, "raw", x, task.data, task.folds, task.seed)


def _ridge_values(
    train: PreparedCohort, tuning: PreparedCohort, cohort: PreparedCohort, seed: int
) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng([seed, *b"ridge"])
    shown, hidden = hide_values(tuning, _HIDDEN_SHARE, generator)
    x, tuning_x, new_x = filled(train), filled(shown), filled(cohort)
    result = {}
    for name, place in columns(train).items():
        said = np.zeros((len(new_x), place.stop - place.start))
        rows, tuned_rows = at_most(train.layers[name].rows, seed), shown.layers[name].rows
        asked = cohort.layers[name].rows
        if len(rows):
            target = np.full((len(tuned_rows), x.shape[1]), np.nan, dtype=np.float32)
            target[:, place] = hidden[name]
            ridge = predict_values(x[rows], (tuning_x[tuned_rows], target), new_x[asked])
            said[asked] = ridge[:, place]
        result[name] = said
    return result


def _pair(cohort: PreparedCohort, name: str, away: Sequence[str], seed: int) -> tuple[Table, Table]:
    """All layers but those ``away``, missing = 0, and the layer, NaN = missing, where both are."""
    held = cohort.take(at_most(has_both(cohort, name), seed))
    return filled(held.without(*away)), held.wide([name])


def _mean(cohort: PreparedCohort, name: str) -> Table:
    return np.zeros((len(cohort.samples), len(cohort.layers[name].features)), dtype=np.float32)


def _away(cohort: PreparedCohort, name: str) -> tuple[str, ...]:
    """What a layer is not foretold from: itself, and its other visits where ``cohort`` has none."""
    own = cohort.layers.get(name + SUFFIX)
    return (name,) if own is not None and len(own.rows) else (name, name + SUFFIX)
