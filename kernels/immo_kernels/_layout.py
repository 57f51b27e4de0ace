"""Layers in the columns of a ``(sample, feature)`` tensor, in plain PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


def by_feature(per_layer: Tensor, segments: Sequence[int]) -> Tensor:
    """Repeat the last dimension, one entry a layer, over the layer's features.

    Example:
        >>> by_feature(torch.tensor([5, 7]), [0, 2, 3])
        tensor([5, 5, 7])
    """
    sizes = [high - low for low, high in itertools.pairwise(segments)]
    columns = [
        per_layer[..., layer : layer + 1].expand(*per_layer.shape[:-1], size)
        for layer, size in enumerate(sizes)
    ]
    return torch.cat(columns, dim=-1)
