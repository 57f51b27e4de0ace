"""How a ``(sample, feature)`` tensor is cut into tiles, one a Triton program."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Columns from which a layer is cut into large tiles; a thread of 32 holds 16 values in both kinds.
_LARGE = 2048
_CALL = 8
_VECTOR_BYTES = 16


@dataclass(frozen=True)
class Tiles:
    """Tiles of one row; a tile lies in one layer, so its threshold and weight are scalars.

    Attributes:
        calls: Rows of a tile, each the eight columns of one call of Philox.
        num_warps: Warps of a program.
        starts: First tile of each layer, then the number of tiles, ``(layer + 1,)``.
        is_aligned: Whether columns 0, 8, 16, ... begin a call of Philox.
    """

    calls: int
    num_warps: int
    starts: tuple[int, ...]
    is_aligned: bool

    @property
    def num_tiles(self) -> int:
        """Tiles of one row."""
        return self.starts[-1]


@functools.lru_cache(maxsize=256)
def tiles_of(segments: tuple[int, ...], is_aligned: bool) -> Tiles:
    """Tiles for layers with these bounds.

    A layer's first tile begins at the multiple of 8 at or before its first column: so every
    tile is aligned in memory where the rows are, and calls of Philox are not split.

    Example:
        >>> tiles_of((0, 100, 100, 600), is_aligned=True).starts
        (0, 1, 1, 2)
    """
    layers = list(itertools.pairwise(segments))
    is_large = max(high - low for low, high in layers) >= _LARGE
    calls, num_warps = (256, 4) if is_large else (64, 1)
    # Without alignment the last row needs the call after it, which the tile has not.
    step = _CALL * (calls if is_aligned else calls - 1)
    counts = [-(-(high - low // 8 * 8) // step) if high > low else 0 for low, high in layers]
    return Tiles(calls, num_warps, (0, *itertools.accumulate(counts)), is_aligned)


def by_value(numbers: Sequence[int]) -> tuple[int, ...]:
    """Numbers for a kernel's tuple, which reads them back by ``>> 4``.

    Triton compiles anew for a number in a tuple that is 1 or a multiple of 16, whatever
    ``do_not_specialize`` says; none of these is.

    Example:
        >>> by_value([0, 1, 16])
        (2, 18, 258)
    """
    return tuple(16 * number + 2 for number in numbers)


def with_unit_columns(x: Tensor) -> Tensor:
    """``x`` itself, detached, or a copy in which neighbouring columns are neighbours in memory."""
    x = x.detach()
    return x if x.shape[1] <= 1 or x.stride(1) == 1 else x.contiguous()


def common_unit(*tensors: Tensor) -> int:
    """Largest power of two up to 8 that divides the place of every row, in elements.

    Example:
        >>> common_unit(torch.empty(2, 12), torch.empty(3, 8))
        4
    """
    places = [x.data_ptr() // x.element_size() for x in tensors]
    return math.gcd(_CALL, *places, *(x.stride(0) for x in tensors if x.shape[0] > 1))


def shares_rows(unit: int, *tensors: Tensor) -> bool:
    """Whether several threads hold parts of one row of a tile, as vectors are of 16 bytes."""
    return min(unit, *(_VECTOR_BYTES // x.element_size() for x in tensors)) < _CALL


def launch_device(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Makes the GPU of ``x`` the current one, which Triton launches on."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
