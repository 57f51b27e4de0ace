"""The op in plain PyTorch: the whole masked copy, then a linear map; differentiable."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from immo_kernels.dynamic_mask import reference as dynamic_mask


def forward(
    x: Tensor,
    matrix: Tensor,
    bias: Tensor,
    sample_uid: Tensor,
    threshold: int,
    seed: int,
    epoch: int,
    first_feature: int,
    rows: Tensor | None,
) -> Tensor:
    """See `immo_kernels.masked_linear`; ``threshold`` is round(p * 2**16)."""
    if rows is not None:
        x, sample_uid = x.index_select(0, rows), sample_uid.index_select(0, rows)
    masked = dynamic_mask.forward(
        x, sample_uid, [threshold], seed, epoch, [0, x.shape[1]], first_feature, None
    )
    return F.linear(masked, matrix, bias)
