"""Which features a classification from the latent rests on.

A logistic regression on the latent is put on top of the encoder, and integrated gradients
(`immo_hpc.analysis.gradients`) carry its score back to the features. The same is done with
encoders whose weights are drawn at random: if their rankings were alike, the ranking would
say nothing about what was learnt.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.analysis.attribution_tables import (
    feature_table,
    layer_table,
    subject_table,
    value_table,
)
from immo_hpc.analysis.choice import choose, fitted
from immo_hpc.analysis.classifiers import LOGISTIC
from immo_hpc.analysis.gradients import (
    LinearHead,
    attribute,
    completeness_error,
)
from immo_hpc.analysis.labels import LabelledSamples, labelled_samples
from immo_hpc.analysis.randomisation import check_randomised
from immo_hpc.analysis.results import AttributionResult
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError, UsageError
from immo_hpc.nn import ImmoModel

_NUM_REDRAWS = 3
_BASELINE = (
    "all z-scores 0: a sample with the same layers measured, every value at the mean of the "
    "training samples; missing values are 0 in both and get no attribution"
)
_INCOMPLETE = 0.05


class Explained(Protocol):
    """What `explain` needs of a `immo_hpc.inference.TrainedModel`."""

    @property
    def model(self) -> ImmoModel:
        """The network."""

    def embed(self, cohort: PreparedCohort) -> NDArray[np.float32]:
        """Latent ``(sample, latent)`` of every sample."""


def explain(
    model: Explained,
    cohort: PreparedCohort,
    *,
    top: int = 10,
    seed: int,
    steps: int = 32,
    samples: PreparedCohort | None = None,
) -> AttributionResult:
    """Attribute the classification of samples to their features.

    The classifier is a logistic regression on the latent, its penalty chosen and its weights
    fitted on the training subjects (train and validation).

    Args:
        model: The trained model.
        cohort: The prepared samples it was trained on, with split and label.
        top: Number of features to name per layer.
        seed: Seed of folds and random encoders.
        steps: Steps of the path from the baseline.
        samples: Samples to explain, such as new ones; None for the labelled test samples.

    Raises:
        CohortError: As for `labelled_samples`; or if there is no sample to explain.
        UsageError: If ``top`` or ``steps`` is below 1.
    """
    if top < 1 or steps < 1:
        message = f"explain: top and steps must be at least 1, found top={top}, steps={steps}."
        raise UsageError(message)
    data = labelled_samples(cohort)
    target_samples = cohort.take(data.index[~data.training]) if samples is None else samples
    if not len(target_samples.samples):
        message = "explain: expected at least one sample to explain, found none."
        raise CohortError(message)
    head, training_auc = _classifier(model.embed(cohort), data, seed)
    network = model.model.eval()
    device = next(network.parameters()).device
    target = _targets(target_samples, data)
    found = attribute(network, head, target_samples, target, steps=steps, device=device)
    random_values = [
        attribute(
            _redrawn(network, seed + draw).to(device),
            head,
            target_samples,
            target,
            steps=max(4, steps // 4),
            device=device,
        ).values
        for draw in range(_NUM_REDRAWS)
    ]
    features = feature_table(found, target_samples)
    error = completeness_error(found, target_samples)
    return AttributionResult(
        label=str(cohort.roles.label),
        classes=data.classes,
        baseline=_BASELINE,
        top=top,
        features=features,
        layers=layer_table(features, found, target_samples),
        subjects=subject_table(found, target_samples),
        values=value_table(found, target_samples),
        completeness_error=error,
        randomised=check_randomised(found.values, random_values, top),
        training_auc=training_auc,
        notices=(*data.notices, *_notices(target_samples, error, training_auc)),
    )


def _classifier(
    latent: NDArray[np.float32], data: LabelledSamples, seed: int
) -> tuple[LinearHead, float]:
    z = latent[data.index]
    choice = choose(LOGISTIC, z, data, data.folds(seed), seed)
    place = np.flatnonzero(data.training)
    pipeline = fitted(LOGISTIC.settings[choice.setting], z[place], data.y[place], seed)
    if pipeline is None:
        message = "explain: each class needs at least two training samples."
        raise CohortError(message)
    return LinearHead.of(pipeline, data.num_classes), choice.auc


def _targets(samples: PreparedCohort, data: LabelledSamples) -> NDArray[np.int64]:
    """Column of the score to attribute: the positive class, or the sample's own class."""
    if data.num_classes == 2:
        return np.zeros(len(samples.samples), dtype=np.int64)
    label = samples.roles.label
    if label is None or label not in samples.samples.columns:
        return np.full(len(samples.samples), -1, dtype=np.int64)
    code = {name: place for place, name in enumerate(data.classes)}
    texts = samples.samples[label].tolist()
    return np.array([code.get(str(text), -1) for text in texts], dtype=np.int64)


def _redrawn(network: ImmoModel, seed: int) -> ImmoModel:
    """A network of the same shape as if it had never been trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImmoModel(network.features, network.config).eval()


def _notices(samples: PreparedCohort, error: float, training_auc: float) -> tuple[str, ...]:
    notices = [
        f"Layer '{name}' is measured in none of these samples: its features are not ranked."
        for name, layer in samples.layers.items()
        if not len(layer.rows)
    ]
    if error > _INCOMPLETE:
        notices.append(
            f"Attributions miss the change of the score by {error:.0%}: give more steps."
        )
    if np.isfinite(training_auc) and training_auc < 0.6:
        notices.append(
            f"The explained classifier hardly separates unseen subjects (AUC {training_auc:.2f} "
            "inside the training subjects): what it rests on is hardly about the label."
        )
    return tuple(notices)
