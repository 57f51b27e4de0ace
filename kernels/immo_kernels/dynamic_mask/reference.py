"""The dynamic mask in plain PyTorch: any device and floating dtype, differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from immo_kernels._layout import by_feature
from immo_kernels.philox import value_draws


def keep(
    sample_uid: Tensor,
    thresholds: Sequence[int],
    seed: int,
    epoch: int,
    segments: Sequence[int],
    first_feature: int,
) -> Tensor:
    """Keep decisions, ``(sample, feature)``, bool; ``thresholds`` are round(p * 2**16)."""
    draws = value_draws(
        sample_uid, segments[-1], seed=seed, epoch=epoch, first_feature=first_feature
    )
    limits = torch.tensor(thresholds, dtype=torch.int64, device=sample_uid.device)
    return draws < by_feature(limits, segments)


def forward(
    x: Tensor,
    sample_uid: Tensor,
    thresholds: Sequence[int],
    seed: int,
    epoch: int,
    segments: Sequence[int],
    first_feature: int,
    shown: Tensor | None,
    out: Tensor | None = None,
) -> Tensor:
    """See `immo_kernels.dynamic_mask`; ``thresholds`` are round(p * 2**16).

    Args that differ from the public function:
        out: Contiguous tensor to write to and return; None: a new one.
    """
    visible = keep(sample_uid, thresholds, seed, epoch, segments, first_feature) & ~x.isnan()
    if shown is not None:
        visible = visible & by_feature(shown, segments)
    masked = torch.where(visible, x, 0.0)
    return masked if out is None else out.copy_(masked)
