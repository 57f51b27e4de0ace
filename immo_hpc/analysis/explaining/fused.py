"""The product of experts, one a layer and one on the latent, as something to explain.

Experts on layers are linear in what they read: z-scores, or ranks within the sample. There
``weight * (reading - reading at the baseline)`` is the exact attribution, what integrated gradients
would give with any number of steps; a feature's rank is its own, though others move it. The
expert on the latent is carried back to the features by integrated gradients, and the two are
added.

Legend of shapes: ``row`` counts samples that have a layer; ``column`` as in
`immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.analysis.experts import Expert
from immo_hpc.analysis.explaining.explained import Array, LayerEffect
from immo_hpc.analysis.explaining.latent import (
    Baseline,
    Embedding,
    LatentClassifier,
    person_folds,
)
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.explaining.readings import Reading, measured_features, read_by
from immo_hpc.analysis.fusion import LATENT, Learning, all_experts
from immo_hpc.analysis.gradients import Attributions, LinearHead
from immo_hpc.analysis.labels import LabelledSamples, main_label
from immo_hpc.analysis.product import Product
from immo_hpc.data.prepared import PreparedCohort


@dataclass(frozen=True)
class FusedClassifier:
    """The fitted experts and how they are put together; see `Explained`.

    Attributes:
        cohort: The training cohort.
        readings: By layer, what its expert adds to the log-odds.
        on_latent: What the expert on the latent adds; its score is in log-odds of the product.
        intercept: ``(column,)``: log-odds of a person about whom nothing is known.
        training_auc: As in `Explained`.
        experts: The experts with their chosen settings.
        product: Scale and weight of each, in the experts' order.
        data: The labelled samples.
        seed: Seed of folds and of exchanged labels.
    """

    cohort: PreparedCohort
    readings: Mapping[str, Reading]
    on_latent: LatentClassifier
    intercept: Array
    training_auc: float
    experts: Mapping[str, Expert]
    product: Product
    data: LabelledSamples
    seed: int

    name = "product"
    title = "product of experts on layers and latent"
    sanity_title = "labels exchanged between people"

    @property
    def baseline_note(self) -> str:
        """See `Explained`."""
        ranked = [name for name, own in self.readings.items() if own.view == "ranks"]
        if not ranked:
            return ""
        return f"; where ranks within the sample are read ({', '.join(ranked)}), their mean there"

    def attribute(
        self, samples: PreparedCohort, target: NDArray[np.int64], steps: int
    ) -> Attributions:
        """See `Explained`; a sample's score is that of a person with this sample alone."""
        score = self.intercept + self.on_latent.scores(samples)
        for name, layer in samples.layers.items():
            if name in self.readings:
                score[layer.rows] += self.readings[name].log_odds(layer.values)
        column = np.where(target < 0, score.argmax(axis=1), target)
        found = self.on_latent.attribute(samples, column, steps)
        chosen = score[np.arange(len(score)), column]
        told, values = np.zeros(len(score)), {}
        for name, layer in samples.layers.items():
            own = np.zeros(layer.values.shape)
            if name in self.readings:
                own = self.readings[name].attributions(layer.values, column[layer.rows])
            told[layer.rows] += own.sum(axis=1)
            values[name] = own + found.values[name]
        # The linear part is exact: what the score is at the baseline follows from it.
        return Attributions(
            values, chosen, chosen - told - (found.score - found.baseline), found.origin
        )

    def scores(self, samples: PreparedCohort) -> Array:
        """See `Explained`."""
        _, person = np.unique(owners(samples), return_inverse=True)
        score = self.intercept + person_means(self.on_latent.scores(samples), person)[1]
        for name, layer in samples.layers.items():
            if name in self.readings and len(layer.rows):
                said = self.readings[name].log_odds(layer.values)
                place, mean = person_means(said, person[layer.rows])
                score[place] += mean
        return np.asarray(score[person])

    def effect(self, samples: PreparedCohort, layer: str) -> LayerEffect:
        """See `Explained`; the rows' shares of both kinds of experts are in the change."""
        values, rows = samples.layers[layer].values, samples.layers[layer].rows
        _, person = np.unique(owners(samples)[rows], return_inverse=True)
        share = (1 / np.bincount(person)[person])[None, :, None]
        by_latent = self.on_latent.effect(samples, layer)
        reading = self.readings.get(layer)

        def change(feature: int, other: NDArray[Any]) -> Array:
            changed = by_latent.share[None, :, None] * by_latent.change(feature, other)
            if reading is not None:
                changed += share * reading.change(values, feature, other)
            return np.asarray(changed)

        return LayerEffect(values, change, np.ones(len(rows)))

    def refits(self) -> Iterator[FusedClassifier]:
        """See `Explained`; the network, settings and the weights of experts stay."""
        for fit, _ in person_folds(self.data, self.seed):
            yield self._fitted(fit, self.data)

    def sanity(self, num_draws: int) -> Iterator[FusedClassifier]:
        """See `Explained`: experts on labels that were dealt anew to the people."""
        generator = np.random.default_rng(self.seed)
        label = main_label(self.data.y, self.data.subject)
        people, codes = np.array(list(label)), np.array(list(label.values()))
        place = np.searchsorted(people, self.data.subject)
        for _ in range(num_draws):
            y = generator.permutation(codes)[place]
            yield self._fitted(np.flatnonzero(self.data.training), replace(self.data, y=y))

    def _fitted(self, fit: NDArray[np.int64], data: LabelledSamples) -> FusedClassifier:
        baseline = self.on_latent.baseline
        own = {
            name: read_by(
                name, self.experts, self.product, self.cohort, data, fit, self.seed, baseline
            )
            for name in self.experts
            if name != LATENT
        }
        on_latent = replace(self.on_latent, head=_head(self, data, fit))
        return replace(self, readings=own, on_latent=on_latent)


def fused_classifier(
    model: Embedding,
    cohort: PreparedCohort,
    data: LabelledSamples,
    seed: int,
    baseline: Baseline | None = None,
) -> FusedClassifier:
    """Learn the product inside the training subjects, as `immo classify` does."""
    latent, folds = model.embed(cohort), data.folds(seed)
    experts = all_experts(latent, measured_features(cohort), data, folds, seed)
    learning, training = Learning.of(experts, data), np.flatnonzero(data.training)
    product = learning.product(training)
    num_columns = product.weight.shape[1]
    blank = LinearHead(torch.zeros(num_columns, latent.shape[1]), torch.zeros(num_columns))
    auc = learning.training_auc(folds)
    network = model.model.eval()
    on_latent = LatentClassifier(
        network, blank, auc, baseline, latent[data.index], data, experts[LATENT].setting, seed
    )
    unfitted = FusedClassifier(
        cohort, {}, on_latent, product.intercept, auc, experts, product, data, seed
    )
    return unfitted._fitted(training, data)


def _head(fused: FusedClassifier, data: LabelledSamples, fit: NDArray[np.int64]) -> LinearHead:
    """The expert on the latent, in log-odds of the product."""
    place = list(fused.experts).index(LATENT)
    linear = fused.experts[LATENT].fitted(data, fit, fused.seed)
    factor = fused.product.weight[place] / fused.product.scale[place]
    weight, bias = linear.weight * factor, factor * (linear.intercept - fused.product.centre[place])
    return LinearHead(torch.from_numpy(weight.T).float(), torch.from_numpy(bias).float())
