"""The loss in plain PyTorch: the equation, any device and floating dtype, differentiable.

Shapes: (sample, feature) data, (sample, layer) tables, (layer,) weights and sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from immo_kernels._layout import by_feature
from immo_kernels.dynamic_mask.reference import keep


def scored_values(
    x: Tensor,
    sample_uid: Tensor,
    thresholds: Sequence[int],
    seed: int,
    epoch: int,
    scope: str,
    segments: Sequence[int],
    first_feature: int,
    measured: Tensor | None,
    shown: Tensor | None,
) -> Tensor:
    """True where a value counts in the loss, ``(sample, feature)``, bool."""
    observed = ~x.isnan()
    if measured is not None:
        observed = observed & by_feature(measured, segments)
    if scope == "observed":
        return observed
    visible = keep(sample_uid, thresholds, seed, epoch, segments, first_feature)
    if shown is not None:
        visible = visible & by_feature(shown, segments)
    return observed & (visible if scope == "kept" else ~visible)


def residual_of(x_hat: Tensor, x: Tensor, scored: Tensor) -> Tensor:
    """Reconstruction less measurement, 0 where not scored; float64 if an operand is, or float32."""
    dtype = loss_dtype(x_hat, x)
    # Both operands are selected first: a NaN must not meet arithmetic, or the gradient is NaN.
    return torch.where(scored, x_hat.to(dtype), 0.0) - torch.where(scored, x.to(dtype), 0.0)


def loss_dtype(x_hat: Tensor, x: Tensor) -> torch.dtype:
    """Dtype of the arithmetic, the sums and the loss."""
    return torch.float64 if torch.float64 in (x_hat.dtype, x.dtype) else torch.float32


def weighted_loss(
    residual: Tensor,
    scored: Tensor,
    weight: Sequence[float],
    normalizer: Sequence[float] | None,
    segments: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Equation 7 over the residuals of the scored values.

    Returns:
        Loss, ``()``; sum of squares of each layer, ``(layer,)``; scored values of each layer,
        ``(layer,)``, int64; slope 2 alpha_i / |X_i|, ``(layer,)``, 0 where |X_i| is 0: the
        gradient is slope times residual.
    """
    bounds = list(itertools.pairwise(segments))
    squares = residual.square()
    layer_sum = torch.stack([squares[:, low:high].sum() for low, high in bounds])
    layer_count = torch.stack([scored[:, low:high].sum() for low, high in bounds])
    alpha = residual.new_tensor(weight)
    size = layer_count if normalizer is None else residual.new_tensor(normalizer)
    slope = torch.where(size > 0, 2 * alpha / torch.where(size > 0, size, 1), 0.0)
    loss = (torch.where(slope > 0, layer_sum, 0.0) * slope).sum() / 2
    return loss, layer_sum, layer_count, slope


def forward(
    x_hat: Tensor,
    x: Tensor,
    sample_uid: Tensor,
    weight: Sequence[float],
    thresholds: Sequence[int],
    seed: int,
    epoch: int,
    scope: str,
    normalizer: Sequence[float] | None,
    segments: Sequence[int],
    first_feature: int,
    measured: Tensor | None,
    shown: Tensor | None,
    residual: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `immo_kernels.masked_wmse`; ``thresholds`` are round(p * 2**16).

    Args that differ from the public function:
        residual: Buffer of the shape of ``x_hat`` that the residuals are written to; it may be
            ``x_hat``. None: they are not wanted.

    Returns:
        What `weighted_loss` returns.
    """
    scored = scored_values(
        x, sample_uid, thresholds, seed, epoch, scope, segments, first_feature, measured, shown
    )
    difference = residual_of(x_hat, x, scored)
    if residual is not None:
        residual.copy_(difference)
    return weighted_loss(difference, scored, weight, normalizer, segments)
