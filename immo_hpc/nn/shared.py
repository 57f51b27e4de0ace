"""Stacks of dense blocks whose rows are shared among several processes.

Batch normalisation sees the rows of all processes as one: each gives the count, mean and
variance of its rows, and all merge them the same way (Chan, Golub and LeVeque 1983); the
backward pass exchanges the two sums that the statistics' own gradient needs. Encoders of
different layers do not wait for each other: their statistics travel together, block by block.
Dropout is drawn for the rows of all processes, in the order that one process draws it, and
each takes its own. So the processes together compute what one computes, up to the rounding of sums.

Legend of shapes: ``row`` counts the rows of this process, ``width`` a block's units,
``process`` the processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from immo_hpc.nn.blocks import BlockTape, DenseBlock, DenseBlocks, dropout_scale
from immo_hpc.nn.wide import MaskedRows, gradient_of, linear, set_linear


class Exchange(Protocol):
    """What processes that compute together tell each other; all call it at the same time."""

    def all_sum(self, buffer: Tensor) -> Tensor:
        """Make a flat buffer hold its sum over all processes, and give it back."""

    def gathered(self, buffer: Tensor) -> Tensor:
        """The flat buffers of all processes, ``(process, number)``, in the same order on all."""


class RowShare(NamedTuple):
    """Rows that a stack works on, over all processes.

    Attributes:
        total: Their number.
        mine: Places of this process's rows among them, ``(row,)``, int64, increasing.
    """

    total: int
    mine: Tensor


class SharedStacks:
    """Stacks passed by several processes together; see `immo_hpc.nn.gradient.Stacks`.

    Args:
        exchange: The processes.

    Attributes:
        shares: Rows of each stack, by key; to be set before each forward pass, alike in
            ``total`` on all processes.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.shares: Mapping[int, RowShare] = {}

    def forward(
        self, inputs: Mapping[int, tuple[DenseBlocks, Tensor | MaskedRows]]
    ) -> dict[int, tuple[Tensor, list[BlockTape]]]:
        """See `immo_hpc.nn.gradient.Stacks`; a stack may have rows on other processes only."""
        taking = {key: pair for key, pair in inputs.items() if self.shares[key].total}
        dropped = {
            key: [self._dropped(block, key) for block in blocks]
            for key, (blocks, _) in taking.items()
        }
        h = {key: value for key, (_, value) in taking.items()}
        last: dict[int, Tensor] = {}
        tapes: dict[int, list[BlockTape]] = {key: [] for key in taking}
        for depth, by_key in enumerate(_by_depth({key: pair[0] for key, pair in taking.items()})):
            mapped = {key: linear(h[key], b.weight, b.bias) for key, b in by_key.items()}
            swished = {key: F.silu(value) for key, value in mapped.items()}
            moments = self._moments(swished)
            for key, block in by_key.items():
                out, mean, inverse_sd = self._normalised(block, swished[key], key, moments)
                scale = dropped[key][depth]
                tapes[key].append(
                    BlockTape(
                        h[key], mapped[key], swished[key], mean, inverse_sd, scale, key in moments
                    )
                )
                h[key] = last[key] = out if scale is None else out * scale
        return {key: (last[key], tapes[key]) for key in taking}

    def backward(
        self,
        stacks: Mapping[int, tuple[DenseBlocks, list[BlockTape], Tensor]],
        *,
        to_input: bool = True,
    ) -> dict[int, Tensor]:
        """See `immo_hpc.nn.gradient.Stacks`; gradients are those of this process's rows."""
        gradient = {key: value for key, (_, _, value) in stacks.items()}
        depths = _by_depth({key: blocks for key, (blocks, _, _) in stacks.items()})
        for depth in reversed(range(len(depths))):
            tapes = {key: stacks[key][1][depth] for key in depths[depth]}
            by_linear = self._through_norm(depths[depth], tapes, gradient)
            for key, block in depths[depth].items():
                set_linear(block.weight, block.bias, by_linear[key], tapes[key].h)
                gradient[key] = by_linear[key]
                if depth > 0 or to_input:
                    gradient[key] = by_linear[key] @ block.weight
        return gradient

    def _dropped(self, block: DenseBlock, key: int) -> Tensor | None:
        """What dropout multiplies this process's rows by; drawn for those of all."""
        share = self.shares[key]
        everyone = dropout_scale(block.bias.new_empty(share.total, len(block.bias)), block.dropout)
        return None if everyone is None else everyone.index_select(0, share.mine)

    def _moments(self, swished: Mapping[int, Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
        """Mean and variance of all processes' rows, ``(width,)``, float64, of stacks with two."""
        keys = [key for key in swished if self.shares[key].total > 1]
        if not keys:
            return {}
        table = self._exchange.gathered(torch.cat([_own_moments(swished[key]) for key in keys]))
        sizes = [1 + 2 * swished[key].shape[1] for key in keys]
        parts = torch.split(table.double(), sizes, dim=1)
        return {
            key: _merged(part, self.shares[key].total)
            for key, part in zip(keys, parts, strict=True)
        }

    def _normalised(
        self,
        block: DenseBlock,
        swished: Tensor,
        key: int,
        moments: Mapping[int, tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The result, and the mean and inverse standard deviation that were used."""
        if key in moments:
            mean, variance = moments[key]
            total = self.shares[key].total
            running = (
                (block.running_mean, mean),
                (block.running_var, variance * (total / (total - 1))),
            )
            for buffer, now in running:
                buffer.mul_(1 - block.momentum).add_(now.to(buffer.dtype), alpha=block.momentum)
            mean, variance = mean.to(swished.dtype), variance.to(swished.dtype)
        else:
            mean, variance = block.running_mean, block.running_var
        inverse_sd = (variance + block.epsilon).rsqrt()
        factor = inverse_sd * block.scale
        return torch.addcmul(block.shift - mean * factor, swished, factor), mean, inverse_sd

    def _through_norm(
        self,
        blocks: Mapping[int, DenseBlock],
        tapes: Mapping[int, BlockTape],
        gradients: Mapping[int, Tensor],
    ) -> dict[int, Tensor]:
        """Gradient by each linear map; sets the gradients of scales and shifts."""
        by_out, x_hat, sums = {}, {}, {}
        for key, block in blocks.items():
            tape, gradient = tapes[key], gradients[key]
            by_out[key] = gradient if tape.dropped is None else gradient * tape.dropped
            x_hat[key] = (tape.swished - tape.mean) * tape.inverse_sd
            # Those of this process: the others' are added with the whole gradient.
            torch.sum(by_out[key], 0, out=gradient_of(block.shift))
            torch.sum(by_out[key] * x_hat[key], 0, out=gradient_of(block.scale))
            if tape.own_statistics:
                sums[key] = torch.cat([gradient_of(block.shift), gradient_of(block.scale)])
        if sums:
            everyone = self._exchange.all_sum(torch.cat(list(sums.values())))
            pieces = torch.split(everyone, [len(part) for part in sums.values()])
            for key, piece in zip(sums, pieces, strict=True):
                by_shift, by_scale = (piece / self.shares[key].total).chunk(2)
                by_out[key] = by_out[key] - by_shift - x_hat[key] * by_scale
        return {
            key: torch.ops.aten.silu_backward(
                by_out[key] * (block.scale * tapes[key].inverse_sd), tapes[key].linear
            )
            for key, block in blocks.items()
        }


def _by_depth(stacks: Mapping[int, DenseBlocks]) -> list[dict[int, DenseBlock]]:
    """The first blocks of all stacks, then the second ones, and so on."""
    listed = {key: list(blocks) for key, blocks in stacks.items()}
    deepest = max(map(len, listed.values()), default=0)
    return [
        {key: blocks[depth] for key, blocks in listed.items() if depth < len(blocks)}
        for depth in range(deepest)
    ]


def _own_moments(swished: Tensor) -> Tensor:
    """Number of rows here, their mean and their variance, one after the other."""
    num_rows, width = swished.shape
    count = swished.new_full((1,), num_rows)
    if num_rows == 0:
        return torch.cat([count, swished.new_zeros(2 * width)])
    variance, mean = torch.var_mean(swished, dim=0, correction=0)
    return torch.cat([count, mean, variance])


def _merged(table: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of all rows, given count, mean and variance of each process."""
    width = (table.shape[1] - 1) // 2
    count, means, variances = torch.split(table, [1, width, width], dim=1)
    mean = (count * means).sum(0) / total
    return mean, (count * (variances + (means - mean).square())).sum(0) / total
