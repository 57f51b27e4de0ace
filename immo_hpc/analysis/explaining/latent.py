"""The classifier on the latent as something to explain.

Legend of shapes: ``sample``, ``row``, ``column`` as in `immo_hpc.analysis.gradients`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.analysis.choice import choose, fitted
from immo_hpc.analysis.classifiers import LOGISTIC
from immo_hpc.analysis.explaining.explained import Array, LayerEffect
from immo_hpc.analysis.explaining.people import owners
from immo_hpc.analysis.gradients import Attributions, LinearHead, attribute
from immo_hpc.analysis.labels import Fold, LabelledSamples
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError
from immo_hpc.nn import ImmoModel

Baseline = Mapping[str, NDArray[np.float32]]

_NUM_REPEATS = 2


class Embedding(Protocol):
    """What is needed of a `immo_hpc.inference.TrainedModel`."""

    @property
    def model(self) -> ImmoModel:
        """The network."""

    def embed(self, cohort: PreparedCohort) -> NDArray[np.float32]:
        """Latent ``(sample, latent)`` of every sample."""


@dataclass(frozen=True)
class LatentClassifier:
    """A logistic regression on the latent; see `Explained`.

    Attributes:
        network: The network, in evaluation mode.
        head: The regression, as it is explained.
        training_auc: As in `Explained`.
        baseline: Baseline of the attributions; None for all z-scores 0.
        latent: Latent of the labelled samples, ``(sample, latent)``.
        data: The labelled samples.
        setting: The chosen setting of the regression.
        seed: Seed of folds and random encoders.
    """

    network: ImmoModel
    head: LinearHead
    training_auc: float
    baseline: Baseline | None
    latent: NDArray[np.float32]
    data: LabelledSamples
    setting: str
    seed: int

    name = "latent"
    title = "logistic regression on the latent"
    baseline_note = ""
    sanity_title = "an encoder drawn at random"

    def attribute(
        self, samples: PreparedCohort, target: NDArray[np.int64], steps: int
    ) -> Attributions:
        """See `Explained`."""
        return attribute(
            self.network,
            self.head,
            samples,
            target,
            steps=steps,
            device=self._device,
            baseline=self.baseline,
        )

    @torch.no_grad()
    def scores(self, samples: PreparedCohort) -> Array:
        """See `Explained`."""
        inputs = self._inputs(samples)
        latent = self.network.encode(inputs, len(samples.samples))
        return _numpy(self.head.to(self._device)(latent))

    @torch.no_grad()
    def effect(self, samples: PreparedCohort, layer: str) -> LayerEffect:
        """See `Explained`; only the encoder of the layer runs again for other values."""
        inputs, size = self._inputs(samples), len(samples.samples)
        parts = self.network.parts(inputs)
        head = self.head.to(self._device)
        values, rows = inputs[layer]
        before = head(self.network.fuse(parts.values(), size)).index_select(0, rows)

        @torch.no_grad()
        def change(feature: int, other: NDArray[Any]) -> Array:
            x = values.clone()
            changed = []
            for repeat in other:
                column = np.nan_to_num(repeat).astype(np.float32)
                x[:, feature] = torch.from_numpy(column).to(x.device)
                new = parts | self.network.parts({layer: (x, rows)})
                after = head(self.network.fuse(new.values(), size)).index_select(0, rows)
                changed.append(_numpy(after - before))
            return np.stack(changed)

        _, person = np.unique(owners(samples), return_inverse=True)
        share = 1 / np.bincount(person)[person[samples.layers[layer].rows]]
        return LayerEffect(samples.layers[layer].values, change, share)

    def refits(self) -> Iterator[LatentClassifier]:
        """See `Explained`; the network and the setting stay."""
        for fit, _ in person_folds(self.data, self.seed):
            yield replace(self, head=_head(self.latent, self.data, fit, self.setting, self.seed))

    def sanity(self, num_draws: int) -> Iterator[LatentClassifier]:
        """See `Explained`: networks of the same shape as if they had never been trained."""
        for draw in range(num_draws):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed + draw)
                network = ImmoModel(self.network.features, self.network.config).eval()
            yield replace(self, network=network.to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _inputs(self, samples: PreparedCohort) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {
            name: (
                torch.from_numpy(np.nan_to_num(layer.values)).to(self._device),
                torch.from_numpy(layer.rows).to(self._device),
            )
            for name, layer in samples.layers.items()
            if len(layer.rows)
        }


def latent_classifier(
    model: Embedding,
    cohort: PreparedCohort,
    data: LabelledSamples,
    seed: int,
    baseline: Baseline | None = None,
) -> LatentClassifier:
    """Choose and fit a logistic regression on the latent inside the training subjects.

    Raises:
        CohortError: If a class has fewer than two training samples.
    """
    z = model.embed(cohort)[data.index]
    choice = choose(LOGISTIC, z, data, data.folds(seed), seed)
    head = _head(z, data, np.flatnonzero(data.training), choice.setting, seed)
    network = model.model.eval()
    return LatentClassifier(network, head, choice.auc, baseline, z, data, choice.setting, seed)


def person_folds(data: LabelledSamples, seed: int) -> list[Fold]:
    """Two deals of folds of the training subjects, other ones than settings are chosen by."""
    return [fold for repeat in range(_NUM_REPEATS) for fold in data.folds(seed + 1 + repeat)]


def _head(
    z: NDArray[np.float32], data: LabelledSamples, place: NDArray[np.int64], setting: str, seed: int
) -> LinearHead:
    pipeline = fitted(LOGISTIC.settings[setting], z[place], data.y[place], seed)
    if pipeline is None:
        message = "explain: each class needs at least two training samples."
        raise CohortError(message)
    return LinearHead.of(pipeline, data.num_classes)


def _numpy(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.cpu().double().numpy())
