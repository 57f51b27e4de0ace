"""Matrix products of a block: in float32, or on a GPU of half-precision operands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Products:
    """How operands are multiplied.

    Attributes:
        operand: Dtype that operands are cast to.
        result: Dtype of products and sums, float32 or float64.
    """

    operand: torch.dtype
    result: torch.dtype

    def cast(self, operand: Tensor) -> Tensor:
        """``operand`` as it is multiplied."""
        return operand.to(self.operand)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """``a @ b``, of cast operands."""
        if self.operand == self.result:
            return torch.mm(a, b)
        if torch.version.hip:
            # Products of half precision are rounded there: torch has no others on ROCm.
            return torch.mm(a, b).to(self.result)
        return torch.mm(a, b, out_dtype=self.result)

    def affine(self, out: Tensor, a: Tensor, b: Tensor, bias: Tensor) -> None:
        """Make ``out``, of dtype `result`, hold ``a @ b + bias``."""
        if self.operand == self.result:
            torch.addmm(bias, a, b, out=out)
        else:
            torch.add(self.product(a, b), bias, out=out)

    def add(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        """Add ``a @ b`` to ``total``, of dtype `result`."""
        if self.operand == self.result:
            total.addmm_(a, b)
        else:
            total.add_(self.product(a, b))

    def store(self, out: Tensor, a: Tensor, b: Tensor, factor: float | Tensor | None) -> None:
        """Make ``out``, of any dtype, hold ``a @ b``, times ``factor`` if there is one."""
        if factor is None and self.operand == self.result == out.dtype:
            torch.mm(a, b, out=out)
        else:
            product = self.product(a, b)
            out.copy_(product if factor is None else product.mul_(factor))


def products_of(x: Tensor, matrix: Tensor) -> Products:
    """How data ``x`` and parameters are multiplied.

    Sums are float32 (float64 if an operand is). Half-precision data meet parameters that are
    rounded to their dtype on a GPU, whose units for it are an order faster; elsewhere data are
    widened, as half precision is slower there.
    """
    wide = torch.float64 if torch.float64 in (x.dtype, matrix.dtype) else torch.float32
    is_half = x.dtype in _HALF and x.is_cuda and wide == torch.float32
    return Products(x.dtype if is_half else wide, wide)
