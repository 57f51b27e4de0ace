"""The op in plain PyTorch: a linear map, then the loss of its whole result; differentiable."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from immo_kernels.masked_wmse import reference as masked_wmse


def forward(
    h: Tensor, matrix: Tensor, bias: Tensor, x: Tensor, *scoring: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, sums and counts; ``scoring`` is what `masked_wmse.reference.forward` takes after x."""
    x_hat, no_residual = F.linear(h, matrix, bias), None
    return masked_wmse.forward(x_hat, x, *(*scoring, no_residual))[:3]
