"""The product of one logistic regression a layer as something to explain.

It is linear in every value, so that ``weight * (value - baseline)`` is its exact attribution: what
integrated gradients would give with any number of steps.

Legend of shapes: ``row`` counts samples that have a layer; ``column`` as in
`immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.choice import subject_auc
from immo_hpc.analysis.experts import Expert, layer_experts
from immo_hpc.analysis.explaining.explained import Array, LayerEffect
from immo_hpc.analysis.explaining.latent import Baseline, person_folds
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.gradients import Attributions
from immo_hpc.analysis.labels import Fold, LabelledSamples, main_label
from immo_hpc.analysis.product import Product, fit_product
from immo_hpc.data.prepared import PreparedCohort

_SMALLEST = 1e-6  # Singular values below this share of the largest are rounding.


@dataclass(frozen=True)
class ProductClassifier:
    """The fitted regressions and how they are put together; see `Explained`.

    Attributes:
        cohort: The training cohort.
        weight: By layer ``(column, feature)``, float64: log-odds a z-score, the layer's
            weight in the product included.
        offset: By layer ``(column,)``: its log-odds at all z-scores 0.
        intercept: ``(column,)``: log-odds of a person about whom nothing is known.
        training_auc: As in `Explained`.
        baseline: Baseline of the attributions; None for all z-scores 0.
        experts: The regressions with their chosen settings.
        product: Scale and weight of each, in the experts' order.
        data: The labelled samples.
        seed: Seed of folds and of exchanged labels.
    """

    cohort: PreparedCohort
    weight: Mapping[str, Array]
    offset: Mapping[str, Array]
    intercept: Array
    training_auc: float
    baseline: Baseline | None
    experts: Mapping[str, Expert]
    product: Product
    data: LabelledSamples
    seed: int

    name = "product"
    title = "product of one logistic regression a layer"
    sanity_title = "labels exchanged between people"

    def attribute(
        self, samples: PreparedCohort, target: NDArray[np.int64], steps: int = 1
    ) -> Attributions:
        """See `Explained`; a sample's score is that of a person with this sample alone."""
        score = np.tile(self.intercept, (len(samples.samples), 1))
        for name, layer in samples.layers.items():
            if name in self.weight:
                part = np.nan_to_num(layer.values) @ self.weight[name].T
                score[layer.rows] += part + self.offset[name]
        column = np.where(target < 0, score.argmax(axis=1), target)
        chosen = score[np.arange(len(score)), column]
        told, values = np.zeros(len(score)), {}
        for name, layer in samples.layers.items():
            moved = layer.values - (0 if self.baseline is None else self.baseline[name])
            weight = self.weight.get(name, np.zeros((score.shape[1], moved.shape[1])))
            values[name] = np.nan_to_num(moved) * weight[column[layer.rows]]
            # Exact: by the same weights the score at the baseline follows.
            told[layer.rows] += values[name].sum(axis=1)
        return Attributions(values, chosen, chosen - told, self.baseline)

    def scores(self, samples: PreparedCohort) -> Array:
        """See `Explained`."""
        _, person = np.unique(owners(samples), return_inverse=True)
        score = np.tile(self.intercept, (person.max(initial=-1) + 1, 1))
        for name, layer in samples.layers.items():
            if name in self.weight and len(layer.rows):
                logit = np.nan_to_num(layer.values) @ self.weight[name].T + self.offset[name]
                place, mean = person_means(logit, person[layer.rows])
                score[place] += mean
        return np.asarray(score[person])

    def effect(self, samples: PreparedCohort, layer: str) -> LayerEffect:
        """See `Explained`."""
        values = np.nan_to_num(samples.layers[layer].values)
        weight = self.weight[layer]

        def change(feature: int, other: NDArray[Any]) -> Array:
            return np.asarray((other - values[:, feature])[..., None] * weight[:, feature])

        rows = samples.layers[layer].rows
        _, person = np.unique(owners(samples)[rows], return_inverse=True)
        return LayerEffect(values, change, 1 / np.bincount(person)[person])

    def refits(self) -> Iterator[ProductClassifier]:
        """See `Explained`; settings and the weights of layers stay."""
        for fit, _ in person_folds(self.data, self.seed):
            yield self._fitted(fit, self.data.y)

    def sanity(self, num_draws: int) -> Iterator[ProductClassifier]:
        """See `Explained`: regressions on labels that were dealt anew to the people."""
        generator = np.random.default_rng(self.seed)
        label = main_label(self.data.y, self.data.subject)
        people, codes = np.array(list(label)), np.array(list(label.values()))
        place = np.searchsorted(people, self.data.subject)
        for _ in range(num_draws):
            yield self._fitted(
                np.flatnonzero(self.data.training), generator.permutation(codes)[place]
            )

    def _fitted(self, fit: NDArray[np.int64], y: NDArray[np.int64]) -> ProductClassifier:
        data = replace(self.data, y=y)
        weight, offset = _linear(self.cohort, self.experts, self.product, data, fit, self.seed)
        return replace(self, weight=weight, offset=offset)


def product_classifier(
    cohort: PreparedCohort, data: LabelledSamples, seed: int, baseline: Baseline | None = None
) -> ProductClassifier:
    """Learn the product inside the training subjects, as `immo classify` does.

    Its experts read values alone: one that reads ranks within the sample is not linear in values.
    """
    folds = data.folds(seed)
    experts = layer_experts(cohort, data, folds, seed, views=("values",))
    keys, evidence = _out_of_fold(experts, data, folds)
    product = fit_product(evidence, keys[:, 1])
    weight, offset = _linear(cohort, experts, product, data, np.flatnonzero(data.training), seed)
    return ProductClassifier(
        cohort=cohort,
        weight=weight,
        offset=offset,
        intercept=product.log_odds(np.full((1, *evidence.shape[1:]), np.nan))[0],
        training_auc=_training_auc(keys, evidence, data, folds),
        baseline=baseline,
        experts=experts,
        product=product,
        data=data,
        seed=seed,
    )


def _out_of_fold(
    experts: Mapping[str, Expert], data: LabelledSamples, folds: list[Fold]
) -> tuple[NDArray[np.int64], Array]:
    """People (and label) of the folds, ``(person, 2)``, and what experts say who never saw them."""
    seen = np.concatenate([score for _, score in folds]) if folds else np.empty(0, dtype=np.int64)
    pairs = np.stack([data.subject[seen], data.y[seen]], axis=1)
    keys, owner = np.unique(pairs, axis=0, return_inverse=True)
    parts = [
        expert.out_of_fold_evidence(seen, owner.ravel(), len(keys)) for expert in experts.values()
    ]
    return keys, np.stack(parts, axis=1)


def _training_auc(
    keys: NDArray[np.int64], evidence: Array, data: LabelledSamples, folds: list[Fold]
) -> float:
    """Mean over folds of the AUC by person, layers weighted by the people of the other folds."""
    values = []
    for _, score in folds:
        is_scored = np.isin(keys[:, 0], data.subject[score])
        product = fit_product(evidence[~is_scored], keys[~is_scored, 1])
        odds = product.log_odds(evidence[is_scored])
        people = LabelledSamples(
            np.arange(len(odds)),
            keys[is_scored, 1],
            data.classes,
            keys[is_scored, 0],
            np.ones(len(odds), dtype=np.bool_),
        )
        values.append(subject_auc(odds, people, np.arange(len(odds))))
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _linear(
    cohort: PreparedCohort,
    experts: Mapping[str, Expert],
    product: Product,
    data: LabelledSamples,
    fit: NDArray[np.int64],
    seed: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights and offsets of every layer, from regressions fitted to the samples ``fit``."""
    num_columns = 1 if data.num_classes == 2 else data.num_classes
    nothing = np.full((1, len(experts), num_columns), np.nan)
    weights, offsets = {}, {}
    for number, (name, expert) in enumerate(experts.items()):
        row = np.full(len(cohort.samples), -1, dtype=np.int64)
        row[cohort.layers[name].rows] = np.arange(len(cohort.layers[name].rows))
        held, scores = expert.scores(data, fit, fit, seed)
        x = np.nan_to_num(cohort.layers[name].values[row[data.index[fit[held]]]])
        weight, offset = least_weights(x, scores)
        # Log-odds are a straight line in each expert's score: two points give it.
        at = [nothing.copy(), nothing.copy()]
        for value, evidence in enumerate(at):
            evidence[:, number] = value
        zero, one = (product.log_odds(evidence)[0] for evidence in at)
        weights[name] = ((one - zero) * weight).T
        offsets[name] = zero - product.log_odds(nothing)[0] + (one - zero) * offset
    return weights, offsets


def least_weights(x: NDArray[np.floating[Any]], scores: Array) -> tuple[Array, Array]:
    """The smallest weights that give these scores: those of any linear model with a ridge.

    The weights of such a model are a combination of the rows it was fitted to, and of all that
    score these rows alike only one is; so it is found without asking how it was fitted.

    Args:
        x: Rows that the model was fitted to, ``(row, feature)``.
        scores: Its scores of them, ``(row, column)``.

    Returns:
        ``(feature, column)`` and the score at 0, ``(column,)``.

    Example:
        >>> weight, offset = least_weights(np.eye(2), np.array([[3.0], [1.0]]))
        >>> weight.round(6).ravel().tolist(), offset.round(6).tolist()
        ([1.0, -1.0], [2.0])
    """
    if not len(x):
        return np.zeros((x.shape[1], scores.shape[1])), np.zeros(scores.shape[1])
    centre, middle = x.mean(axis=0, dtype=np.float64), scores.mean(axis=0)
    weight = np.linalg.lstsq(x - centre, scores - middle, rcond=_SMALLEST)[0]
    return weight, np.asarray(middle - centre @ weight)
