"""The dynamic mask in Triton: each value read once, each result written once, one launch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from immo_kernels._philox_triton import (
    kept_lanes,
    load_tile,
    of_layer,
    store_tile,
    tile_of_program,
)
from immo_kernels._tiles import (
    by_value,
    common_unit,
    launch_device,
    shares_rows,
    tiles_of,
    with_unit_columns,
)

_CHANGING = [
    "units_masked",
    "units_x",
    "num_tiles",
    "tile_starts",
    "bounds",
    "thresholds",
    "first_feature",
    "seed",
    "epoch",
]


@triton.jit(do_not_specialize=_CHANGING)
def _dynamic_mask_fwd_kernel(
    masked_ptr,
    x_ptr,
    uid_ptr,
    shown_ptr,
    units_masked,
    units_x,
    num_tiles,
    tile_starts,
    bounds,
    thresholds,
    first_feature,
    seed,
    epoch,
    HAS_SHOWN: tl.constexpr,
    ALIGNED: tl.constexpr,
    SHARED: tl.constexpr,
    UNIT: tl.constexpr,
    NUM_LAYERS: tl.constexpr,
    CALLS: tl.constexpr,
):
    STEP: tl.constexpr = 8 * CALLS if ALIGNED else 8 * CALLS - 8
    row, _, layer, start, first, end = tile_of_program(
        num_tiles, tile_starts, bounds, NUM_LAYERS, STEP
    )
    threshold = of_layer(thresholds, layer, NUM_LAYERS) >> 4
    visible = threshold > 0
    if HAS_SHOWN:
        visible = visible & (tl.load(shown_ptr + row * NUM_LAYERS + layer) != 0)
    masked = tl.zeros([CALLS, 8], masked_ptr.dtype.element_ty)
    if visible:
        x = load_tile(x_ptr + (row * units_x * UNIT + start), first, end, 0.0, STEP, CALLS)
        uid = tl.load(uid_ptr + row)
        kept = kept_lanes(start, first_feature, uid, seed, epoch, threshold, ALIGNED, SHARED, CALLS)
        # NaN is looked for in float32: the interpreter compares bfloat16 by its bits.
        is_number = x.to(tl.float32) == x.to(tl.float32)
        masked = tl.where(kept & is_number, x, 0.0).to(masked_ptr.dtype.element_ty)
    store_tile(masked_ptr + (row * units_masked * UNIT + start), masked, first, end, STEP, CALLS)


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
    """As `immo_kernels.dynamic_mask.reference.forward`."""
    x = with_unit_columns(x)
    masked = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out
    tiles = tiles_of(tuple(segments), first_feature % 8 == 0)
    num_programs = x.shape[0] * tiles.num_tiles
    if num_programs == 0:
        return masked
    unit = common_unit(x, masked)
    with launch_device(x):
        _dynamic_mask_fwd_kernel[(num_programs,)](
            masked,
            x,
            sample_uid.contiguous(),
            sample_uid if shown is None else shown.contiguous().view(torch.uint8),
            masked.stride(0) // unit,
            x.stride(0) // unit,
            tiles.num_tiles,
            by_value(tiles.starts),
            by_value(segments),
            by_value(thresholds),
            first_feature,
            seed,
            epoch,
            HAS_SHOWN=shown is not None,
            ALIGNED=tiles.is_aligned,
            SHARED=shares_rows(unit, x),
            UNIT=unit,
            NUM_LAYERS=len(thresholds),
            CALLS=tiles.calls,
            num_warps=tiles.num_warps,
        )
    return masked
