"""What a training step minimises: masks (Eq. 1-3), forward pass, weighted loss (Eq. 7).

Legend of shapes: ``row`` counts the samples of a batch that have a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from immo_hpc.config import ImmoConfig
from immo_hpc.data.batches import Batch
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.stream import ShardIndex, StoredLayer
from immo_hpc.nn import GradientPass, LastLayer, MaskedRows
from immo_hpc.nn.wide import gradient_of
from immo_kernels import (
    LinearGradients,
    MaskStream,
    dynamic_mask,
    keep_layers,
    linear_masked_wmse_and_gradients,
    masked_wmse_and_gradient,
)

# Visible values and rows by layer, batch size, rows to reconstruct -> reconstruction by layer.
# Values are a tensor, or `MaskedRows` where a `GradientPass` works on the layer in blocks.
Forward = Callable[
    [Mapping[str, tuple[Any, Tensor]], int, Mapping[str, Tensor]],
    Mapping[str, Tensor | LastLayer],
]


@dataclass(frozen=True)
class LayerTerm:
    """One layer's place in the objective.

    Attributes:
        place: Place of the layer among the layers.
        first_feature: Place of its first feature among the features of all layers; with the
            sample's identity it fixes the layer's masks.
        weight: alpha in Eq. 7; the weights of all layers sum to 1.
        num_features: Number of features.
    """

    place: int
    first_feature: int
    weight: float
    num_features: int


class LayerLoss(NamedTuple):
    """One layer's loss in a batch.

    Attributes:
        loss: Weighted loss, ``()``.
        layer_sum: Sum of squared errors over the scored values, ``(1,)``.
        layer_count: Number of scored values, ``(1,)``.
        x_hat: The reconstruction, ``(row, feature)``, with its place in the graph that made it,
            if any; its memory now holds the gradient. None if it was not made.
        gradient: Gradient of the loss by ``x_hat``, ``(row, feature)``, or by the parts of the
            `LastLayer` that was given instead.
    """

    loss: Tensor
    layer_sum: Tensor
    layer_count: Tensor
    x_hat: Tensor | None
    gradient: Tensor | LinearGradients

    def scale_gradient(self, factor: Tensor) -> None:
        """Multiply the gradient in place, as the loss is multiplied by ``factor``, ``()``."""
        parts = (self.gradient,) if isinstance(self.gradient, Tensor) else self.gradient
        for part in parts:
            part.mul_(factor.to(part.dtype))


def layer_terms(cohort: PreparedCohort | ShardIndex, config: ImmoConfig) -> dict[str, LayerTerm]:
    """Terms of the objective by layer, in the cohort's order.

    Raises:
        ConfigError: If a loss weight names a layer that is not there, or all are 0.
    """
    weights = config.loss.layer_weights(list(cohort.layers))
    terms, first_feature = {}, 0
    layers: Mapping[str, PreparedLayer | StoredLayer] = cohort.layers
    for place, (name, layer) in enumerate(layers.items()):
        num_features = len(layer.features)
        terms[name] = LayerTerm(place, first_feature, weights[name], num_features)
        first_feature += num_features
    return terms


@dataclass(frozen=True)
class Objective:
    """The loss of a batch in one epoch.

    Attributes:
        terms: Layers' terms (`layer_terms`).
        config: Masks, loss and seed.
        epoch: Counted from 0; decides the masks and their keep probabilities.
        is_part: The batches are parts of larger ones: losses and gradients are then not yet
            divided by the number of scored values, or the layer's size.
    """

    terms: dict[str, LayerTerm]
    config: ImmoConfig
    epoch: int
    is_part: bool = False

    @cached_property
    def stream(self) -> MaskStream:
        """Mask stream of the epoch."""
        mask = self.config.mask
        return MaskStream(seed=self.config.seed, epoch=mask.stream_epoch(self.epoch))

    @cached_property
    def keep(self) -> dict[str, float]:
        """Keep probability of single values by layer (Eq. 1)."""
        mask = self.config.mask
        return {name: mask.value_probability(name, self.epoch) for name in self.terms}

    @cached_property
    def keep_layers(self) -> float:
        """Keep probability of whole layers."""
        return self.config.mask.layer_probability(self.epoch)

    def losses(
        self, forward: Forward, batch: Batch, names: Sequence[str] | None = None
    ) -> dict[str, LayerLoss]:
        """Loss by layer of a batch, with layers nobody in the batch has left out.

        A hidden layer's rows are taken out of the encoder's input, as at inference; the
        decoder gives every row that was measured, and the loss scores what
        ``loss.scope`` says. NaN reaches neither values nor gradients.

        Args:
            forward: The network, or a `GradientPass` of it.
            batch: The batch.
            names: Layers to work on, with or without rows; None for those with rows.
        """
        present = [
            _Measured(name, layer.values, layer.rows, batch.sample_uid.index_select(0, layer.rows))
            for name, layer in batch.layers.items()
            if (len(layer.rows) if names is None else name in names)
        ]
        shown = self._shown(batch, present)
        is_wide = forward.is_wide if isinstance(forward, GradientPass) else _never
        visible = {
            layer.name: self._visible(layer, chosen, is_wide)
            for layer, chosen in zip(present, shown, strict=True)
        }
        x_hat = forward(visible, batch.size, {layer.name: layer.rows for layer in present})
        return {
            layer.name: self._loss(x_hat[layer.name], layer, chosen, batch.size)
            for layer, chosen in zip(present, shown, strict=True)
        }

    def _shown(self, batch: Batch, present: list[_Measured]) -> list[Tensor | None]:
        """By layer present, True for rows the encoder may see, ``(row,)``; None for all."""
        if self.keep_layers >= 1:
            return [None] * len(present)
        measured = torch.zeros(
            batch.size, len(self.terms), dtype=torch.bool, device=batch.sample_uid.device
        )
        columns = [self.terms[layer.name].place for layer in present]
        for layer, column in zip(present, columns, strict=True):
            measured.select(1, column).index_fill_(0, layer.rows, True)
        shown = keep_layers(
            measured, batch.sample_uid, keep_probability=self.keep_layers, stream=self.stream
        )
        return [
            shown.select(1, column).index_select(0, layer.rows)
            for layer, column in zip(present, columns, strict=True)
        ]

    def _visible(
        self, layer: _Measured, shown: Tensor | None, is_wide: Callable[[int, int], bool]
    ) -> tuple[Tensor | MaskedRows, Tensor]:
        """What the encoder sees of a layer: masked values of the rows shown, and the rows."""
        values, rows, sample_uid = layer.values, layer.rows, layer.sample_uid
        chosen = None if shown is None else shown.nonzero().view(-1)
        if is_wide(*values.shape):
            masked_rows = MaskedRows(
                values,
                sample_uid,
                chosen,
                self.keep[layer.name],
                self.stream,
                self.terms[layer.name].first_feature,
            )
            return masked_rows, rows if chosen is None else rows.index_select(0, chosen)
        if chosen is not None:
            values, rows, sample_uid = (
                tensor.index_select(0, chosen) for tensor in (values, rows, sample_uid)
            )
        masked = dynamic_mask(
            values,
            sample_uid,
            keep_probability=self.keep[layer.name],
            stream=self.stream,
            first_feature=self.terms[layer.name].first_feature,
        )
        return masked, rows

    def _loss(
        self, x_hat: Tensor | LastLayer, layer: _Measured, shown: Tensor | None, size: int
    ) -> LayerLoss:
        term, config = self.terms[layer.name], self.config.loss
        normalizer = size * term.num_features if config.normalizer == "size" else None
        scoring: dict[str, Any] = {
            "weight": term.weight,
            "keep_probability": self.keep[layer.name],
            "stream": self.stream,
            "scope": config.scope,
            "normalizer": 1.0 if self.is_part else normalizer,
            "first_feature": term.first_feature,
            "shown": None if shown is None else shown.unsqueeze(1),
        }
        if isinstance(x_hat, LastLayer):
            out = gradient_of(x_hat.weight), gradient_of(x_hat.bias)
            result, gradients = linear_masked_wmse_and_gradients(
                *x_hat, layer.values, layer.sample_uid, **scoring, out=out
            )
            return LayerLoss(*result, None, gradients)
        result, gradient = masked_wmse_and_gradient(
            x_hat, layer.values, layer.sample_uid, **scoring, overwrite_x_hat=True
        )
        return LayerLoss(*result, x_hat, gradient)


def _never(num_rows: int, num_features: int) -> bool:
    return False


class _Measured(NamedTuple):
    """The rows of a batch that have a layer: values, places in the batch, identities."""

    name: str
    values: Tensor
    rows: Tensor
    sample_uid: Tensor
