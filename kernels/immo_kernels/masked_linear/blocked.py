"""The loop over feature blocks: mask a block, multiply it, then the next one.

Shapes: ``x`` (sample, feature), ``matrix`` (out, feature), results (row, out), where rows are the
samples worked on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from immo_kernels._blocks import block_width, feature_blocks
from immo_kernels._paths import choose
from immo_kernels._products import products_of
from immo_kernels.dynamic_mask.op import PATHS


@dataclass(frozen=True)
class Masking:
    """Data and how they are masked; see `immo_kernels.masked_linear`."""

    x: Tensor
    sample_uid: Tensor
    threshold: int
    seed: int
    epoch: int
    first_feature: int
    rows: Tensor | None

    @property
    def num_rows(self) -> int:
        """Number of samples worked on."""
        return len(self.x) if self.rows is None else len(self.rows)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Columns and masked data of each block, ``(row, width)``, in the dtype of ``x``.

        The data are there until the next block is asked for.
        """
        x, rows = self.x, self.rows
        uid = self.sample_uid if rows is None else self.sample_uid.index_select(0, rows)
        path = choose("masked_linear", PATHS, x)
        width = block_width(self.num_rows, x.device.type, x.element_size())
        # One memory for all blocks: fresh pages cost more than the mask.
        memory = x.new_empty(self.num_rows * min(width, x.shape[1]))
        for _, low, high in feature_blocks([0, x.shape[1]], width):
            masked = memory[: self.num_rows * (high - low)].view(self.num_rows, high - low)
            part = x[:, low:high]
            if rows is not None:
                # Masked in place.
                part = torch.index_select(part, 0, rows, out=masked)
            path(
                part,
                uid,
                (self.threshold,),
                self.seed,
                self.epoch,
                (0, high - low),
                self.first_feature + low,
                None,
                masked,
            )
            yield slice(low, high), masked


def forward(matrix: Tensor, bias: Tensor, masking: Masking) -> Tensor:
    """Masked data times ``matrix``, plus ``bias``; in the dtype of ``matrix``."""
    products = products_of(masking.x, matrix)
    total = bias.to(products.result).repeat(masking.num_rows, 1)
    for columns, masked in masking.blocks():
        part = products.cast(matrix[:, columns])
        products.add(total, products.cast(masked), part.t())
    return total.to(matrix.dtype)


def by_matrix(upstream: Tensor, masking: Masking, out: Tensor) -> None:
    """Make ``out`` hold the gradient by the matrix; the masks are drawn again."""
    products = products_of(masking.x, out)
    factor = None
    if products.operand != products.result:
        # Gradients of a mean over 10^9 values are below what float16 can hold.
        factor = upstream.abs().amax().clamp(min=1e-30).to(products.result)
        upstream = upstream / factor
    operand = products.cast(upstream).t()
    for columns, masked in masking.blocks():
        products.store(out[:, columns], operand, products.cast(masked), factor)
