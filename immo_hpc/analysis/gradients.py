"""Integrated gradients of a linear classifier on the latent, through the encoder.

Legend of shapes: ``sample`` counts the samples of a batch, ``row`` those that have a layer,
``feature`` the layer's features, ``column`` the scores of the classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.data.batches import whole
from immo_hpc.data.prepared import PreparedCohort

Inputs = Mapping[str, tuple[Tensor, Tensor]]

_BATCH_SIZE = 512


class Encoder(Protocol):
    """What is looked through: `immo_hpc.nn.ImmoModel` in evaluation mode."""

    def encode(self, batch: Inputs, size: int, /) -> Tensor:
        """Latent ``(sample, latent)`` of values ``(row, feature)`` and their rows, by layer."""


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier on the latent: ``score = z @ weight.T + bias``.

    Attributes:
        weight: ``(column, latent)``, float32.
        bias: ``(column,)``, float32.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, pipeline: Any, num_classes: int) -> LinearHead:
        """The head that scores as a fitted pipeline of `CommonScale` and a linear classifier.

        Args:
            pipeline: The fitted scikit-learn pipeline.
            num_classes: Number of classes; a class it did not see scores 0.
        """
        scaler, linear = pipeline[0], pipeline[-1]
        coefficients = np.asarray(linear.coef_, dtype=np.float64)
        intercept = np.asarray(linear.intercept_, dtype=np.float64)
        if len(coefficients) == 1:
            coefficients = np.concatenate([-coefficients, coefficients])
            intercept = np.concatenate([-intercept, intercept])
        weight = np.zeros((num_classes, coefficients.shape[1]))
        bias = np.zeros(num_classes)
        weight[linear.classes_] = coefficients / scaler.scale_
        bias[linear.classes_] = intercept - weight[linear.classes_] @ scaler.mean_
        if num_classes == 2:
            weight, bias = weight[1:], bias[1:]
        return cls(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())

    def __call__(self, latent: Tensor) -> Tensor:
        """Scores ``(sample, column)`` of ``latent`` ``(sample, latent)``."""
        return latent @ self.weight.T + self.bias

    def to(self, device: torch.device) -> LinearHead:
        """The same head on another device."""
        return LinearHead(self.weight.to(device), self.bias.to(device))


@dataclass(frozen=True)
class Attributions:
    """Attributions of every sample's score to its values.

    Attributes:
        values: By layer ``(row, feature)``, float64, in the order of the layer's rows.
        score: Score that is attributed, ``(sample,)``, float64.
        baseline: The same score with all values at the baseline, ``(sample,)``, float64.
        origin: The baseline, by layer ``(feature,)``, z-scores; None: all 0.
    """

    values: Mapping[str, NDArray[np.float64]]
    score: NDArray[np.float64]
    baseline: NDArray[np.float64]
    origin: Mapping[str, NDArray[np.float32]] | None = None


def attribute(
    encoder: Encoder,
    head: LinearHead,
    cohort: PreparedCohort,
    target: NDArray[np.int64],
    *,
    steps: int,
    device: torch.device,
    baseline: Mapping[str, NDArray[np.float32]] | None = None,
) -> Attributions:
    """Integrated gradients from a baseline to each sample's own values.

    ``attribution_j = (x_j - b_j) * mean over the path of d score / d x_j``, with the path from b
    to x in ``steps`` steps (midpoint rule; Sundararajan et al., Axiomatic attribution for deep
    networks, 2017). Missing values are 0 at both ends and get 0.

    Args:
        encoder: In evaluation mode, so that samples do not see each other.
        head: Classifier on the latent.
        cohort: The samples.
        target: Which score to attribute, ``(sample,)``, int64; -1 = the largest.
        steps: Steps of the path, at least 1.
        device: Where to compute.
        baseline: By layer ``(feature,)``, z-scores; None: all 0, the training mean.
    """
    head = head.to(device)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in cohort.layers}
    scores, baselines, start = [], [], 0
    for batch in whole(cohort, batch_size=_BATCH_SIZE, device=device):
        inputs = {
            name: (torch.where(layer.values.isnan(), 0.0, layer.values), layer.rows)
            for name, layer in batch.layers.items()
        }
        origin = {
            name: torch.zeros_like(layer.values)
            if baseline is None
            else torch.where(layer.values.isnan(), 0.0, torch.from_numpy(baseline[name]).to(device))
            for name, layer in batch.layers.items()
        }
        with torch.no_grad():
            at_values = head(encoder.encode(inputs, batch.size))
            at_zero = head(encoder.encode(_between(origin, inputs, 0.0), batch.size))
        column = torch.from_numpy(target[start : start + batch.size]).to(device)
        column = torch.where(column < 0, at_values.argmax(dim=1), column)[:, None]
        start += batch.size
        for name, gradient in _mean_gradient(
            encoder, head, origin, inputs, batch.size, column, steps
        ).items():
            parts[name].append(_numpy((inputs[name][0] - origin[name]) * gradient))
        scores.append(_numpy(at_values.gather(1, column)[:, 0]))
        baselines.append(_numpy(at_zero.gather(1, column)[:, 0]))
    values = {
        name: np.concatenate(blocks) if blocks else np.zeros((0, len(cohort.layers[name].features)))
        for name, blocks in parts.items()
    }
    return Attributions(values, np.concatenate(scores), np.concatenate(baselines), baseline)


def completeness_error(attributions: Attributions, cohort: PreparedCohort) -> float:
    """Mean of `completeness_gaps`, over samples."""
    return float(completeness_gaps(attributions, cohort).mean())


def completeness_gaps(attributions: Attributions, cohort: PreparedCohort) -> NDArray[np.float64]:
    """How far attributions are from adding up to the change of the score, by sample.

    Returns:
        ``|sum of attributions - (score - baseline)|`` over the mean ``|score - baseline|`` of
        all samples, ``(sample,)``; 0 if no score changes and no attribution claims it does.
    """
    told = np.zeros(len(attributions.score))
    for name, block in attributions.values.items():
        told[cohort.layers[name].rows] += block.sum(axis=1)
    change = attributions.score - attributions.baseline
    return np.asarray(np.abs(told - change) / max(float(np.abs(change).mean()), 1e-12))


def _mean_gradient(
    encoder: Encoder,
    head: LinearHead,
    origin: Mapping[str, Tensor],
    inputs: Inputs,
    size: int,
    column: Tensor,
    steps: int,
) -> dict[str, Tensor]:
    """Mean over the path of the gradient of each sample's score, by layer ``(row, feature)``."""
    total = {name: torch.zeros_like(values) for name, (values, _) in inputs.items()}
    for step in range(steps):
        point = _between(origin, inputs, (step + 0.5) / steps)
        leaves = [values.requires_grad_() for values, _ in point.values()]
        score = head(encoder.encode(point, size)).gather(1, column).sum()
        gradients = torch.autograd.grad(score, leaves, allow_unused=True, materialize_grads=True)
        for name, gradient in zip(point, gradients, strict=True):
            total[name] += gradient
    return {name: gradient / steps for name, gradient in total.items()}


def _between(
    origin: Mapping[str, Tensor], inputs: Inputs, factor: float
) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        name: (torch.lerp(origin[name], values, factor), rows)
        for name, (values, rows) in inputs.items()
    }


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu().double().numpy())
