"""The loop over feature blocks: product, loss and gradients of a block, then the next one.

Each block goes through the path of `masked_wmse` that takes its data, with weight 1/2 and
normaliser 1: such a loss has the residual itself as its gradient. What layers weigh is put on
the small operand ``h`` and on the small sums, so no large tensor is touched again.

Shapes: ``h`` (sample, hidden), ``matrix`` (feature, hidden), data (sample, feature).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from immo_kernels._blocks import FeatureBlock, block_width, feature_blocks
from immo_kernels._paths import choose
from immo_kernels._products import Products, products_of
from immo_kernels.masked_wmse.op import PATHS


class LinearGradients(NamedTuple):
    """Gradients of the loss by the operands of the linear map.

    Attributes:
        by_h: ``(sample, hidden)``.
        by_matrix: ``(feature, hidden)``.
        by_bias: ``(feature,)``.
    """

    by_h: Tensor
    by_matrix: Tensor
    by_bias: Tensor


@dataclass(frozen=True)
class Scoring:
    """Which values are scored and how layers are weighed; see `immo_kernels.masked_wmse`."""

    x: Tensor
    sample_uid: Tensor
    weight: Sequence[float]
    thresholds: Sequence[int]
    seed: int
    epoch: int
    scope: str
    normalizer: Sequence[float] | None
    segments: Sequence[int]
    first_feature: int
    measured: Tensor | None
    shown: Tensor | None

    def scored(
        self, path: Callable[..., Any], block: FeatureBlock, x_hat: Tensor, residual: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sum of squares and number of scored values of a block, ``(1,)``; writes residuals."""
        layer, low, high = block
        _, layer_sum, layer_count, _ = path(
            x_hat,
            self.x[:, low:high],
            self.sample_uid,
            (0.5,),
            (self.thresholds[layer],),
            self.seed,
            self.epoch,
            self.scope,
            (1.0,),
            (0, high - low),
            self.first_feature + low,
            _of_layer(self.measured, layer),
            _of_layer(self.shown, layer),
            residual,
        )
        return layer_sum, layer_count


def forward(
    h: Tensor,
    matrix: Tensor,
    bias: Tensor,
    scoring: Scoring,
    gradients: LinearGradients | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, sums and counts (`MaskedWmse`); fills ``gradients`` unless they are not wanted."""
    x, products = scoring.x, products_of(scoring.x, matrix)
    width = block_width(len(x), x.device.type, products.result.itemsize)
    blocks = list(feature_blocks(scoring.segments, width))
    num_layers = len(scoring.weight)
    layer_sum = torch.zeros(num_layers, dtype=torch.float64, device=x.device)
    layer_count = torch.zeros(num_layers, dtype=torch.int64, device=x.device)
    memory = torch.empty(len(x) * min(width, x.shape[1]), dtype=products.result, device=x.device)
    path = choose("linear_masked_wmse", PATHS, memory, x)
    totals = None
    if gradients is not None:
        counts = _counts(scoring, blocks) if scoring.normalizer is None else None
        totals = _Totals(h, gradients, products, _slopes(scoring, counts))
    operand, wide_bias = products.cast(h), bias.to(products.result)
    for block in blocks:
        layer, low, high = block
        part = products.cast(matrix[low:high])
        x_hat = memory[: len(x) * (high - low)].view(len(x), high - low)
        products.affine(x_hat, operand, part.t(), wide_bias[low:high])
        found = scoring.scored(path, block, x_hat, None if totals is None else x_hat)
        layer_sum[layer] += found[0][0]
        layer_count[layer] += found[1][0]
        if totals is not None:
            totals.add(block, x_hat, part)
    if totals is not None:
        totals.finish()
    loss = x.new_zeros((), dtype=torch.float64)
    for layer, slope in enumerate(_slopes(scoring, layer_count)):
        if scoring.weight[layer] > 0 and not (isinstance(slope, float) and slope == 0):
            loss = loss + layer_sum[layer] * slope / 2
    return loss.to(products.result), layer_sum.to(products.result), layer_count


def empty_gradients(h: Tensor, matrix: Tensor, bias: Tensor) -> LinearGradients:
    """Unfilled gradients of the dtypes and shapes of what they belong to."""
    return LinearGradients(*(torch.empty_like(part) for part in (h, matrix, bias)))


class _Totals:
    """Gradients as they grow, block by block in the order of the features."""

    def __init__(
        self,
        h: Tensor,
        gradients: LinearGradients,
        products: Products,
        slopes: Sequence[float | Tensor],
    ) -> None:
        self._gradients, self._products, self._slopes = gradients, products, slopes
        self._h, self._layer = h.to(products.result), -1
        self._weighed: tuple[Tensor, float | Tensor | None] = (self._h, None)
        self._by_h = torch.zeros_like(self._h)
        self._of_layer = torch.zeros_like(self._h)

    def add(self, block: FeatureBlock, residual: Tensor, part: Tensor) -> None:
        """Add what a block's residuals contribute; ``part`` is its part of the matrix."""
        if block.layer != self._layer:
            self._close_layer()
            self._layer = block.layer
            self._weighed = self._weighed_h(self._slopes[block.layer])
        products, place = self._products, slice(block.low, block.high)
        operand = products.cast(residual)
        products.add(self._of_layer, operand, part)
        products.store(self._gradients.by_matrix[place], operand.t(), *self._weighed)
        by_bias = residual.sum(0).mul_(self._slopes[block.layer])
        self._gradients.by_bias[place].copy_(by_bias)

    def finish(self) -> None:
        """Write the gradient by ``h``."""
        self._close_layer()
        self._gradients.by_h.copy_(self._by_h)

    def _weighed_h(self, slope: float | Tensor) -> tuple[Tensor, float | Tensor | None]:
        """``h`` as it is multiplied, and the factor that is still to come."""
        if self._products.operand == self._products.result:
            # The gradient by the matrix is then written once.
            return self._h * slope, None
        # Half precision might lose a slope of 1e-6 and less.
        return self._products.cast(self._h), slope

    def _close_layer(self) -> None:
        if self._layer >= 0:
            self._by_h.add_(self._of_layer.mul_(self._slopes[self._layer]))
            self._of_layer.zero_()


def _counts(scoring: Scoring, blocks: Sequence[FeatureBlock]) -> Tensor:
    """Scored values of each layer, ``(layer,)``, int64: the data alone are read."""
    x = scoring.x
    path = choose("linear_masked_wmse", PATHS, x, x)
    counts = torch.zeros(len(scoring.weight), dtype=torch.int64, device=x.device)
    for block in blocks:
        # Scored against themselves, so nothing else is read; the sums are of no use.
        counts[block.layer] += scoring.scored(path, block, x[:, block.low : block.high], None)[1][0]
    return counts


def _slopes(scoring: Scoring, counts: Tensor | None) -> list[float | Tensor]:
    """2 alpha_i / |X_i| of each layer: numbers, or ``()`` where values were counted."""
    doubled = [2 * weight for weight in scoring.weight]
    if scoring.normalizer is not None:
        sizes = scoring.normalizer
        return [a / size if size > 0 else 0.0 for a, size in zip(doubled, sizes, strict=True)]
    assert counts is not None
    # Where nothing is scored residuals are 0, whatever they are multiplied by.
    sizes_of = counts.clamp(min=1).double()
    return [a / size for a, size in zip(doubled, sizes_of, strict=True)]


def _of_layer(table: Tensor | None, layer: int) -> Tensor | None:
    return None if table is None else table[:, layer : layer + 1]
