"""Dense blocks: linear map, Swish, batch normalisation, dropout, in that order (Eq. 4-6).

Legend of shapes: ``row`` counts the samples a block works on, ``width`` its units.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from immo_hpc.nn.wide import MaskedRows, linear


class BlockTape(NamedTuple):
    """What the gradient of a block needs from its forward pass.

    Attributes:
        h: Input, ``(row, num_in)``, or what it is made of.
        linear: Before Swish, ``(row, num_out)``.
        swished: After Swish, same shape.
        mean: Mean of ``swished`` by unit, ``(num_out,)``; empty without own statistics.
        inverse_sd: One over its standard deviation, likewise.
        dropped: What dropout multiplied by, ``(row, num_out)``; None without dropout.
        own_statistics: Whether the rows' own statistics were used, or the running ones.
    """

    h: Tensor | MaskedRows
    linear: Tensor
    swished: Tensor
    mean: Tensor
    inverse_sd: Tensor
    dropped: Tensor | None
    own_statistics: bool


class DenseBlock(nn.Module):
    """One hidden layer: ``dropout(batch_norm(swish(h @ weight.T + bias)))``.

    Args:
        num_in: Width of the input.
        num_out: Width of the output.
        dropout: Share of the units set to 0 while training.
    """

    running_mean: Tensor
    running_var: Tensor
    epsilon = 1e-5
    momentum = 0.1

    def __init__(self, num_in: int, num_out: int, dropout: float) -> None:
        super().__init__()
        self.weight, self.bias = linear_parameters(num_in, num_out)
        self.scale = nn.Parameter(torch.ones(num_out))
        self.shift = nn.Parameter(torch.zeros(num_out))
        self.register_buffer("running_mean", torch.zeros(num_out))
        self.register_buffer("running_var", torch.ones(num_out))
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        """Apply the block.

        Args:
            h: Input, ``(row, num_in)``, float32, no NaN.

        Returns:
            ``(row, num_out)``, float32. While training, the statistics of the rows are used
            and the running ones updated; with fewer than two rows there are no statistics,
            so the running ones are used and left as they are.
        """
        if h.shape[0] == 0:
            # torch's batch normalisation of no rows ends the process in its backward pass.
            return F.linear(h, self.weight, self.bias)
        return self.taped(h)[0]

    def taped(self, h: Tensor | MaskedRows) -> tuple[Tensor, BlockTape]:
        """As `forward`, of at least one row, with what its gradient needs."""
        own_statistics = self.training and len(h) > 1
        mapped = linear(h, self.weight, self.bias)
        swished = F.silu(mapped)
        out, mean, inverse_sd = torch.native_batch_norm(
            swished,
            self.scale,
            self.shift,
            self.running_mean,
            self.running_var,
            own_statistics,
            self.momentum,
            self.epsilon,
        )
        dropped = dropout_scale(out, self.dropout) if self.training else None
        if dropped is not None:
            out = out * dropped
        return out, BlockTape(h, mapped, swished, mean, inverse_sd, dropped, own_statistics)


class DenseBlocks(nn.Module):
    """Dense blocks one after the other.

    Args:
        num_in: Width of the input.
        dims: Widths of the blocks.
        dropout: Share of the units set to 0 while training, in every block.
    """

    def __init__(self, num_in: int, dims: Sequence[int], dropout: float) -> None:
        super().__init__()
        widths = [num_in, *dims]
        self.blocks = nn.ModuleList(
            DenseBlock(below, above, dropout) for below, above in itertools.pairwise(widths)
        )

    def __iter__(self) -> Iterator[DenseBlock]:
        for block in self.blocks:
            assert isinstance(block, DenseBlock)
            yield block

    def forward(self, h: Tensor) -> Tensor:
        """Apply all blocks: ``(row, num_in)`` to ``(row, dims[-1])``."""
        for block in self:
            h = block(h)
        return h


def linear_parameters(num_in: int, num_out: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight ``(num_out, num_in)`` and bias ``(num_out,)``, uniform within 1/sqrt(num_in)."""
    bound = 1 / math.sqrt(max(num_in, 1))
    weight = torch.empty(num_out, num_in).uniform_(-bound, bound)
    bias = torch.empty(num_out).uniform_(-bound, bound)
    return nn.Parameter(weight), nn.Parameter(bias)


def dropout_scale(like: Tensor, rate: float) -> Tensor | None:
    """What dropout multiplies by: 0 for a share ``rate``, ``1 / (1 - rate)`` for the others.

    On the CPU torch's own dropout spends more than the matrix product before it on one
    Bernoulli draw an entry; here an entry costs 16 bits of the same generator, which
    rounds the rate to a multiple of 1/65536.

    Args:
        like: Tensor whose shape, dtype and device are wanted.
        rate: Share of entries to drop, in [0, 1).

    Returns:
        A tensor like ``like``; None if nothing is to be dropped.
    """
    if rate == 0 or like.numel() == 0:
        return None
    if like.device.type != "cpu":
        return torch.empty_like(like).bernoulli_(1 - rate).mul_(1 / (1 - rate))
    num = like.numel()
    bits = torch.empty((num + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    lanes = bits.view(torch.int16)[:num].view(like.shape)
    num_kept = min(max(round((1 - rate) * 65536), 1), 65535)
    # Compared in place, as floats: several times faster than by way of a bool tensor.
    return lanes.to(like.dtype).lt_(num_kept - 32768).mul_(65536 / num_kept)
