"""The layer mask in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from immo_kernels.philox import layer_draws


def forward(measured: Tensor, sample_uid: Tensor, threshold: int, seed: int, epoch: int) -> Tensor:
    """See `immo_kernels.keep_layers`; ``threshold`` is round(p * 2**32)."""
    num_layers = measured.shape[1]
    draws = layer_draws(sample_uid, num_layers, seed=seed, epoch=epoch)
    shown = measured & (draws < threshold)
    if num_layers == 0:
        return shown
    all_hidden = ~shown.any(dim=1)
    # argmax returns the first of equal draws; -1 is below every draw.
    rescued = torch.where(measured, draws, -1).argmax(dim=1)
    layer = torch.arange(num_layers, device=measured.device)
    return shown | (measured & all_hidden[:, None] & (layer == rescued[:, None]))
