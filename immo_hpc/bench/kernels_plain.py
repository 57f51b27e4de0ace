"""Mask and loss in ordinary tensor operations, as a competent user writes them.

Masks by ``torch.rand_like``, missing values selected away, autograd for the gradient. Absent
blocks are NaN to it.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from immo_hpc.bench.kernels_cases import KEEP_PROBABILITY, NUM_LAYERS

WEIGHT = 1 / NUM_LAYERS


def plain_mask(x: Tensor) -> Tensor:
    """Masked ``x``: kept and measured values, 0 elsewhere."""
    kept = torch.rand_like(x, dtype=torch.float32) < KEEP_PROBABILITY
    return torch.where(kept & ~x.isnan(), x, 0.0)


def plain_loss(x_hat: Tensor, x: Tensor, segments: list[int]) -> Tensor:
    """Equation 7 over observed values."""
    observed = ~x.isnan()
    squares = torch.where(observed, x_hat - x, 0.0).float().square()
    loss = squares.new_zeros(())
    for low, high in itertools.pairwise(segments):
        count = observed[:, low:high].sum().clamp(min=1)
        loss = loss + WEIGHT * squares[:, low:high].sum() / count
    return loss
