"""First and last linear maps of wide layers, worked on in feature blocks.

Where a layer's values in a batch are many, neither their masked copy nor the reconstruction
exists as a whole: the ops `immo_kernels.masked_linear` and `linear_masked_wmse` make them block
by block (docs/adr/0024-feature-blocks.md).

Legend of shapes: ``row`` counts the rows of a batch that have the layer, ``feature`` its features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from immo_kernels import MaskStream, masked_linear, masked_linear_by_matrix

# Values of a layer in a batch from which on blocks are worked on (docs/adr/0024).
WIDE_MIN = 1 << 23


def is_wide(num_rows: int, num_features: int) -> bool:
    """Whether a layer's values in a batch are so many that they are worked on in blocks."""
    return num_rows * num_features >= WIDE_MIN


@dataclass(frozen=True)
class MaskedRows:
    """An encoder's input that is masked as it is multiplied.

    Attributes:
        values: Values of the layer, ``(row, feature)``, NaN = missing.
        sample_uid: Identity of each row, ``(row,)``, int64.
        shown: Rows that the encoder works on, ``(shown,)``, int64; None: all of them.
        keep_probability: Probability that a value is kept.
        stream: Seed and epoch of the draws.
        first_feature: Place of the first feature among the features of all layers.
    """

    values: Tensor
    sample_uid: Tensor
    shown: Tensor | None
    keep_probability: float
    stream: MaskStream
    first_feature: int

    def __len__(self) -> int:
        return len(self.values) if self.shown is None else len(self.shown)

    def linear(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Masked values through a linear map, ``(shown, out)``."""
        return masked_linear(
            self.values,
            weight,
            bias,
            self.sample_uid,
            keep_probability=self.keep_probability,
            stream=self.stream,
            first_feature=self.first_feature,
            rows=self.shown,
        )

    def gradient(self, upstream: Tensor, out: Tensor) -> None:
        """Make ``out`` the gradient by the map's weight, given that by its result."""
        masked_linear_by_matrix(
            upstream,
            self.values,
            self.sample_uid,
            keep_probability=self.keep_probability,
            stream=self.stream,
            first_feature=self.first_feature,
            rows=self.shown,
            out=out,
        )


class LastLayer(NamedTuple):
    """A reconstruction that is not made: its loss is taken in blocks.

    Attributes:
        h: What the decoder gives for the rows, ``(row, hidden)``.
        weight: Last linear map, ``(feature, hidden)``, with its gradient.
        bias: ``(feature,)``, with its gradient.
    """

    h: Tensor
    weight: nn.Parameter
    bias: nn.Parameter


def linear(h: Tensor | MaskedRows, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear map of rows: ``(row, out)``."""
    return F.linear(h, weight, bias) if isinstance(h, Tensor) else h.linear(weight, bias)


def set_linear(
    weight: nn.Parameter, bias: nn.Parameter, gradient: Tensor, h: Tensor | MaskedRows
) -> None:
    """Set the gradients of a linear map, given that by its result and its input ``h``."""
    if isinstance(h, Tensor):
        torch.mm(gradient.t(), h, out=gradient_of(weight))
    else:
        h.gradient(gradient, gradient_of(weight))
    torch.sum(gradient, 0, out=gradient_of(bias))


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """The tensor that holds a parameter's gradient."""
    assert parameter.grad is not None
    return parameter.grad
