"""Experts on layers, and on the latent, added up to the log-odds of a subject.

How experts are weighed is `immo_hpc.analysis.product`; here the weights are learnt from scores of
training subjects that the experts had not seen, and the whole can be kept for new samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import Ranked, macro_auc
from immo_hpc.analysis.experts import VIEWS, Expert, layer_experts, learn_expert
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.analysis.linear import Linear, subject_means
from immo_hpc.analysis.methods import Method, Places
from immo_hpc.analysis.platt import Platt, fit_platt
from immo_hpc.analysis.product import Product, fit_product
from immo_hpc.analysis.results import Source
from immo_hpc.data.prepared import PreparedCohort

Array = NDArray[np.float64]

# Names of layers are the user's: this one cannot be among them.
LATENT = "(latent)"


@dataclass(frozen=True)
class Fusion:
    """A fitted product of experts, each linear in the values of its layer or in their ranks.

    Attributes:
        linear: Each expert's classifier, by layer (`LATENT` for the latent).
        view: What each of them reads, by the same names: a key of `VIEWS`.
        product: How they are added up.
        platt: From log-odds to probability, one a column.
        classes: Class names; of two, the positive one last.
    """

    linear: Mapping[str, Linear]
    view: Mapping[str, str]
    product: Product
    platt: tuple[Platt, ...]
    classes: tuple[str, ...]

    def coefficients(self, name: str) -> Array:
        """What one unit of a feature adds to the log-odds, ``(feature, column)``.

        The unit is one of the mean over a subject's samples that have the layer, of z-scores
        where ``view`` says 'values' (of the latent's own for `LATENT`), of
        `immo_hpc.analysis.ranks.in_sample_ranks` where it says 'ranks'. In z-scores an expert on
        ranks is not linear.

        Args:
            name: A layer, or `LATENT`.

        Raises:
            KeyError: If there is no such expert.
        """
        linear, place = self.linear[name], list(self.linear).index(name)
        unit = self.product.weight[place] / self.product.scale[place]
        return np.asarray(linear.weight * unit)

    def scores(self, cohort: PreparedCohort, latent: NDArray[np.float32] | None) -> Array:
        """What each expert says of each sample, ``(sample, expert, column)``; NaN = nothing.

        Args:
            cohort: Prepared samples.
            latent: Their latent, ``(sample, latent)``; None if no expert asks for it.
        """
        num_samples, num_columns = len(cohort.samples), self.product.weight.shape[1]
        said = np.full((num_samples, len(self.linear), num_columns), np.nan)
        for place, (name, linear) in enumerate(self.linear.items()):
            if name == LATENT:
                assert latent is not None
                said[:, place] = linear.scores(latent)
            else:
                layer = cohort.layers[name]
                said[layer.rows, place] = linear.scores(VIEWS[self.view[name]](layer.values))
        return said

    def probability(self, scores: Array, subject: NDArray[np.int64]) -> Array:
        """Probability of each class for each sample's subject, ``(sample, class)``.

        Args:
            scores: Of all samples of these subjects, as `scores` gives them.
            subject: Subject code of each sample, ``(sample,)``.
        """
        owner, place = np.unique(subject, return_inverse=True)
        evidence = np.stack(
            [
                subject_means(scores[:, number], place, len(owner))
                for number in range(scores.shape[1])
            ],
            axis=1,
        )
        odds = self.product.log_odds(evidence)
        columns = [platt.probability(odds[:, c]) for c, platt in enumerate(self.platt)]
        if len(columns) == 1:
            columns = [1 - columns[0], columns[0]]
        table = np.stack(columns, axis=1)
        return np.asarray((table / table.sum(axis=1, keepdims=True))[place])


def all_experts(
    latent: NDArray[np.float32],
    cohort: PreparedCohort,
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
) -> dict[str, Expert]:
    """An expert for each layer, and one on the latent ``(sample, latent)``.

    Dimensions of a latent cannot be compared with each other, so they are not ranked.
    """
    row = np.asarray(data.index)
    on_latent = learn_expert(latent, row, data, folds, seed, views=("values",))
    return {**layer_experts(cohort, data, folds, seed), LATENT: on_latent}


@dataclass(frozen=True)
class Learning:
    """What the weights of experts are learnt from.

    Attributes:
        experts: By name.
        data: The labelled samples.
        keys: Training subject (and label, where one carries several), ``(subject, 2)``.
        evidence: What experts say of them that had not seen them, ``(subject, expert, column)``,
            NaN where one has nothing to go by.
    """

    experts: Mapping[str, Expert]
    data: LabelledSamples
    keys: NDArray[np.int64]
    evidence: Array

    @classmethod
    def of(cls, experts: Mapping[str, Expert], data: LabelledSamples) -> Learning:
        """From the experts' out-of-fold scores; nobody where there were no folds."""
        place = np.flatnonzero(data.training)
        pairs = np.stack([data.subject[place], data.y[place]], axis=1)
        keys, owner = np.unique(pairs, axis=0, return_inverse=True)
        parts = [
            expert.out_of_fold_evidence(place, owner.ravel(), len(keys))
            for expert in experts.values()
        ]
        evidence = np.stack(parts, axis=1)
        known = np.any(np.isfinite(evidence).all(axis=2), axis=1)
        return cls(experts, data, keys[known], evidence[known])

    def product(self, fit: Places) -> Product:
        """Weights learnt from the training subjects among those of ``fit``."""
        held = np.isin(self.keys[:, 0], self.data.subject[fit])
        return fit_product(self.evidence[held], self.keys[held, 1])

    def unseen_log_odds(self, folds: list[Fold]) -> Array:
        """Log-odds of ``keys`` by weights learnt without their fold, ``(subject, column)``."""
        odds = np.full((len(self.keys), self.evidence.shape[2]), np.nan)
        for fit, score in folds:
            held = np.isin(self.keys[:, 0], self.data.subject[score])
            odds[held] = self.product(fit).log_odds(self.evidence[held])
        return odds

    def training_auc(self, folds: list[Fold]) -> float:
        """AUC of `unseen_log_odds`, mean over folds; NaN where none is defined."""
        odds, values = self.unseen_log_odds(folds), []
        for _, score in folds:
            held = np.isin(self.keys[:, 0], self.data.subject[score])
            each = np.arange(int(held.sum()))
            values.append(float(macro_auc(Ranked(odds[held], self.keys[held, 1], each))[0]))
        defined = [value for value in values if np.isfinite(value)]
        return float(np.mean(defined)) if defined else float("nan")


def product_of(
    experts: Mapping[str, Expert],
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
    *,
    name: str = "product",
    title: str = "Late fusion by subject, product of experts",
    source: Source = "baseline",
) -> Method:
    """The product of ``experts``: their evidence on a subject, weighted and added up."""
    learning = Learning.of(experts, data)
    weights = learning.product(np.flatnonzero(data.training)).weight.mean(axis=1)
    told = ", ".join(
        f"{key}: {weight:.2f} ({expert.setting})"
        for (key, expert), weight in zip(experts.items(), weights, strict=True)
    )

    def scores(fit: Places, score: Places) -> Array:
        owner, subject = np.unique(data.subject[score], return_inverse=True)
        evidence = np.stack(
            [
                expert.evidence(data, fit, score, subject, len(owner), seed)
                for expert in experts.values()
            ],
            axis=1,
        )
        return learning.product(fit).log_odds(evidence)[subject]

    return Method(name, title, source, told, learning.training_auc(folds), scores)


def fused(
    experts: Mapping[str, Expert], data: LabelledSamples, folds: list[Fold], seed: int
) -> Fusion:
    """The product fitted to all training samples, with probabilities, for new samples."""
    learning, training = Learning.of(experts, data), np.flatnonzero(data.training)
    odds = learning.unseen_log_odds(folds)
    known = np.isfinite(odds).all(axis=1)
    codes = [1] if data.num_classes == 2 else range(data.num_classes)
    y = learning.keys[known, 1]
    return Fusion(
        linear={name: expert.fitted(data, training, seed) for name, expert in experts.items()},
        view={name: expert.view for name, expert in experts.items()},
        product=learning.product(training),
        platt=tuple(
            fit_platt(odds[known, column], (y == code).astype(np.int64))
            for column, code in enumerate(codes)
        ),
        classes=data.classes,
    )
