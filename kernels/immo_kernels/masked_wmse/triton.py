"""The loss in Triton: both operands read once, gradient written in the same launch.

Sums go from tiles to layers in one or two further small launches, in a fixed order and without
atomics, so two runs are bit-equal; nothing comes back to the host. Where |X_i| is the number of
scored values, a first launch counts them in ``x`` alone (README.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from immo_kernels._philox_triton import (
    entry,
    kept_lanes,
    load_tile,
    of_layer,
    store_tile,
    tile_of_program,
)
from immo_kernels._tiles import (
    Tiles,
    by_value,
    common_unit,
    launch_device,
    shares_rows,
    tiles_of,
    with_unit_columns,
)

_BLOCK = 1024  # partial sums added at once
# Partial sums that one program adds alone; more are first folded, each layer in parts.
_FOLD_MIN = 16 * _BLOCK
_NUM_PARTS = 128
# Elements from which reading x once more to count costs less than scaling the gradient later.
_COUNT_FIRST_MIN = 1 << 22
_SCALED_ROWS = 16  # rows of a program that scales

_CHANGING = [
    "units_residual",
    "units_x_hat",
    "units_x",
    "num_rows",
    "num_tiles",
    "tile_starts",
    "bounds",
    "thresholds",
    "first_feature",
    "seed",
    "epoch",
    "slopes",
]


@triton.jit(do_not_specialize=_CHANGING)
def _masked_wmse_fwd_kernel(
    sum_ptr,
    count_ptr,
    residual_ptr,
    x_hat_ptr,
    x_ptr,
    uid_ptr,
    measured_ptr,
    shown_ptr,
    slope_ptr,
    units_residual,
    units_x_hat,
    units_x,
    num_rows,
    num_tiles,
    tile_starts,
    bounds,
    thresholds,
    first_feature,
    seed,
    epoch,
    slopes,
    SCOPE: tl.constexpr,
    ONLY_COUNTS: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr,
    SLOPE: tl.constexpr,
    HAS_MEASURED: tl.constexpr,
    HAS_SHOWN: tl.constexpr,
    ALIGNED: tl.constexpr,
    SHARED: tl.constexpr,
    UNIT: tl.constexpr,
    NUM_LAYERS: tl.constexpr,
    CALLS: tl.constexpr,
):
    STEP: tl.constexpr = 8 * CALLS if ALIGNED else 8 * CALLS - 8
    row, tile, layer, start, first, end = tile_of_program(
        num_tiles, tile_starts, bounds, NUM_LAYERS, STEP
    )
    place = row * NUM_LAYERS + layer
    limit = of_layer(thresholds, layer, NUM_LAYERS) >> 4
    if HAS_SHOWN:
        limit = tl.where(tl.load(shown_ptr + place) != 0, limit, 0)
    # Whether any value of the tile can be scored; if not, it is not read.
    present = limit >= 0
    if SCOPE == "kept":
        present = limit > 0
    if SCOPE == "dropped":
        present = limit < 65536
    if HAS_MEASURED:
        present = present & (tl.load(measured_ptr + place) != 0)

    total = 0.0
    count = 0
    residual = tl.zeros([CALLS, 8], tl.float32)
    if present:
        nan = float("nan")
        x = load_tile(x_ptr + (row * units_x * UNIT + start), first, end, nan, STEP, CALLS)
        # Before the draws, which then fill the time that the memory takes.
        if not ONLY_COUNTS:
            x_hat = load_tile(
                x_hat_ptr + (row * units_x_hat * UNIT + start), first, end, nan, STEP, CALLS
            )
        x = x.to(tl.float32)
        scored = x == x
        if SCOPE != "observed":
            uid = tl.load(uid_ptr + row)
            kept = kept_lanes(start, first_feature, uid, seed, epoch, limit, ALIGNED, SHARED, CALLS)
            scored = scored & (kept if SCOPE == "kept" else ~kept)
        count = tl.sum(scored.to(tl.int32))
        if not ONLY_COUNTS:
            # Both operands are selected before they meet: a NaN is never subtracted.
            residual = tl.where(scored, x_hat.to(tl.float32), 0.0) - tl.where(scored, x, 0.0)
            total = tl.sum(residual * residual)
    if HAS_RESIDUAL:
        if SLOPE == "counted":
            residual *= tl.load(slope_ptr + layer)
        if SLOPE == "given":
            residual *= of_layer(slopes, layer, NUM_LAYERS)
        store_tile(
            residual_ptr + (row * units_residual * UNIT + start),
            residual.to(residual_ptr.dtype.element_ty),
            first,
            end,
            STEP,
            CALLS,
        )
    # By tile, then row: the partial sums of a layer stand in one run.
    at = tile.to(tl.int64) * num_rows + row
    tl.store(sum_ptr + at, total)
    tl.store(count_ptr + at, count)


@triton.jit
def _add_run(sum_ptr, count_ptr, begin, end, BLOCK: tl.constexpr):
    """Sum and count over the run from ``begin`` to ``end``, in float64 and int64."""
    total = tl.zeros([BLOCK], tl.float64)
    count = tl.zeros([BLOCK], tl.int64)
    # Not `for`: the interpreter of triton 3.6 cannot take its bounds from tensors.
    while begin < end:
        at = begin + tl.arange(0, BLOCK)
        total += tl.load(sum_ptr + at, mask=at < end, other=0.0).to(tl.float64)
        count += tl.load(count_ptr + at, mask=at < end, other=0).to(tl.int64)
        begin += BLOCK
    return tl.sum(total), tl.sum(count)


@triton.jit(do_not_specialize=["num_rows", "tile_starts"])
def _masked_wmse_fold_kernel(
    part_sum_ptr,
    part_count_ptr,
    sum_ptr,
    count_ptr,
    num_rows,
    tile_starts,
    NUM_LAYERS: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part = tl.program_id(0) % NUM_PARTS
    layer = tl.program_id(0) // NUM_PARTS
    begin = entry(tile_starts, 0)
    end = entry(tile_starts, 1)
    for i in tl.static_range(1, NUM_LAYERS):
        begin = tl.where(layer == i, entry(tile_starts, i), begin)
        end = tl.where(layer == i, entry(tile_starts, i + 1), end)
    begin *= num_rows
    end *= num_rows
    size = tl.cdiv(end - begin, NUM_PARTS)
    begin += part * size
    total, count = _add_run(sum_ptr, count_ptr, begin, tl.minimum(begin + size, end), BLOCK)
    tl.store(part_sum_ptr + tl.program_id(0), total)
    tl.store(part_count_ptr + tl.program_id(0), count)


@triton.jit(do_not_specialize=["run_length", "run_starts", "weight", "normalizer"])
def _masked_wmse_loss_kernel(
    loss_ptr,
    layer_sum_ptr,
    layer_count_ptr,
    slope_ptr,
    sum_ptr,
    count_ptr,
    run_length,
    run_starts,
    weight,
    normalizer,
    BY_COUNT: tl.constexpr,
    IS_SCALED: tl.constexpr,
    NUM_LAYERS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    zero = tl.zeros([], tl.float64)
    loss = zero
    for layer in tl.static_range(NUM_LAYERS):
        begin = entry(run_starts, layer) * run_length
        end = entry(run_starts, layer + 1) * run_length
        total, count = _add_run(sum_ptr, count_ptr, begin, end, BLOCK)
        size = count.to(tl.float64) if BY_COUNT else zero + normalizer[layer]
        factor = (zero + weight[layer]) / tl.where(size > 0, size, 1.0)
        factor = tl.where(size > 0, factor, 0.0)
        loss += tl.where(factor > 0, factor * total, 0.0)
        tl.store(layer_sum_ptr + layer, total.to(tl.float32))
        tl.store(layer_count_ptr + layer, count)
        # The gradient is the residual times this; a gradient written at once is not scaled again.
        tl.store(slope_ptr + layer, 1.0 if IS_SCALED else (2 * factor).to(tl.float32))
    tl.store(loss_ptr, loss.to(tl.float32))


@triton.jit(do_not_specialize=["units_gradient", "num_rows", "num_tiles", "tile_starts", "bounds"])
def _masked_wmse_bwd_kernel(
    gradient_ptr,
    slope_ptr,
    upstream_ptr,
    units_gradient,
    num_rows,
    num_tiles,
    tile_starts,
    bounds,
    UNIT: tl.constexpr,
    NUM_LAYERS: tl.constexpr,
    CALLS: tl.constexpr,
    ROWS: tl.constexpr,
):
    block, _, layer, start, first, end = tile_of_program(
        num_tiles, tile_starts, bounds, NUM_LAYERS, 8 * CALLS
    )
    factor = tl.load(slope_ptr + layer) * tl.load(upstream_ptr)
    # The usual case: the gradient stands already, for a loss that nothing weighs further.
    if factor != 1.0:
        row = block * ROWS
        while row < tl.minimum(block * ROWS + ROWS, num_rows):
            ptr = gradient_ptr + (row * units_gradient * UNIT + start)
            gradient = load_tile(ptr, first, end, 0.0, 8 * CALLS, CALLS).to(tl.float32) * factor
            gradient = gradient.to(gradient_ptr.dtype.element_ty)
            store_tile(ptr, gradient, first, end, 8 * CALLS, CALLS)
            row += 1


def backward(residual: Tensor, slope: Tensor, upstream: Tensor, segments: Sequence[int]) -> Tensor:
    """Multiply the columns of each layer by slope times upstream, in place.

    Args:
        residual: What `forward` wrote, ``(sample, feature)``, neighbouring columns neighbours.
        slope: What `forward` returned, ``(layer,)``, float32.
        upstream: Gradient of the loss, ``()``, float32.
        segments: Bounds of the layers.

    Returns:
        ``residual``; it is not touched where the product is 1.
    """
    tiles = tiles_of(tuple(segments), True)
    num_programs = triton.cdiv(residual.shape[0], _SCALED_ROWS) * tiles.num_tiles
    if num_programs == 0:
        return residual
    unit = common_unit(residual)
    with launch_device(residual):
        _masked_wmse_bwd_kernel[(num_programs,)](
            residual,
            slope,
            upstream,
            residual.stride(0) // unit,
            residual.shape[0],
            tiles.num_tiles,
            by_value(tiles.starts),
            by_value(segments),
            UNIT=unit,
            NUM_LAYERS=len(segments) - 1,
            CALLS=tiles.calls,
            ROWS=_SCALED_ROWS,
            num_warps=tiles.num_warps,
        )
    return residual


def forward(
    x_hat: Tensor,
    x: Tensor,
    sample_uid: Tensor,
    weight: Sequence[float],
    thresholds: Sequence[int],
    seed: int,
    epoch: int,
    scope: str,
    normalizer: Sequence[float] | None,
    segments: Sequence[int],
    first_feature: int,
    measured: Tensor | None,
    shown: Tensor | None,
    residual: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `immo_kernels.masked_wmse.reference.forward`, all layers in one launch.

    ``residual`` receives the gradient for an upstream gradient of 1, and the slope returned is
    1, unless |X_i| is counted and the data are few: then residual and slope as there.
    """
    x_hat, x = with_unit_columns(x_hat), with_unit_columns(x)
    target = residual
    if target is not None and target.shape[1] > 1 and target.stride(1) != 1:
        target = torch.empty(x_hat.shape, dtype=x_hat.dtype, device=x.device)
    written = x_hat if target is None else target
    tiles = tiles_of(tuple(segments), first_feature % 8 == 0)
    num_rows, num_layers = x.shape[0], len(weight)
    num_programs = num_rows * tiles.num_tiles
    tile_sum = torch.empty(num_programs, dtype=torch.float32, device=x.device)
    tile_count = torch.empty(num_programs, dtype=torch.int32, device=x.device)
    unit = common_unit(x_hat, x, written)
    sample_uid = sample_uid.contiguous()

    def launch(*, only_counts: bool, slope: str, counted: Tensor) -> None:
        if num_programs == 0:
            return
        _masked_wmse_fwd_kernel[(num_programs,)](
            tile_sum,
            tile_count,
            written,
            x_hat,
            x,
            sample_uid,
            sample_uid if measured is None else measured.contiguous().view(torch.uint8),
            sample_uid if shown is None else shown.contiguous().view(torch.uint8),
            counted,
            written.stride(0) // unit,
            x_hat.stride(0) // unit,
            x.stride(0) // unit,
            num_rows,
            tiles.num_tiles,
            by_value(tiles.starts),
            by_value(segments),
            by_value(thresholds),
            first_feature,
            seed,
            epoch,
            tuple(_slopes(weight, normalizer or weight)),
            SCOPE=scope,
            ONLY_COUNTS=only_counts,
            HAS_RESIDUAL=target is not None and not only_counts,
            SLOPE=slope,
            HAS_MEASURED=measured is not None,
            HAS_SHOWN=shown is not None,
            ALIGNED=tiles.is_aligned,
            SHARED=shares_rows(unit, x_hat, x),
            UNIT=unit,
            NUM_LAYERS=num_layers,
            CALLS=tiles.calls,
            num_warps=tiles.num_warps,
        )

    with launch_device(x):
        slope, counted = "none", tile_sum
        if target is not None and normalizer is not None:
            slope = "given"
        elif target is not None and x.numel() >= _COUNT_FIRST_MIN:
            launch(only_counts=True, slope="none", counted=tile_sum)
            slope, counted = "counted", _reduced(tile_sum, tile_count, num_rows, tiles, weight)[3]
        launch(only_counts=False, slope=slope, counted=counted)
        results = _reduced(
            tile_sum, tile_count, num_rows, tiles, weight, normalizer, is_scaled=slope != "none"
        )
    if residual is not None and target is not None and target is not residual:
        residual.copy_(target)
    return results


def _slopes(weight: Sequence[float], normalizer: Sequence[float]) -> list[float]:
    """2 alpha_i / |X_i|, 0 where |X_i| is 0."""
    return [2 * a / size if size > 0 else 0.0 for a, size in zip(weight, normalizer, strict=True)]


def _reduced(
    tile_sum: Tensor,
    tile_count: Tensor,
    num_rows: int,
    tiles: Tiles,
    weight: Sequence[float],
    normalizer: Sequence[float] | None = None,
    *,
    is_scaled: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Add the tiles of each layer and weigh the layers; slope is 2 alpha_i / |X_i|, or 1."""
    device, num_layers = tile_sum.device, len(weight)
    sums, counts, run_length, run_starts = tile_sum, tile_count, num_rows, tiles.starts
    if tile_sum.numel() > _FOLD_MIN:
        num_parts = num_layers * _NUM_PARTS
        sums = torch.empty(num_parts, dtype=torch.float64, device=device)
        counts = torch.empty(num_parts, dtype=torch.int64, device=device)
        _masked_wmse_fold_kernel[(num_parts,)](
            sums,
            counts,
            tile_sum,
            tile_count,
            num_rows,
            by_value(tiles.starts),
            NUM_LAYERS=num_layers,
            NUM_PARTS=_NUM_PARTS,
            BLOCK=_BLOCK,
        )
        run_length, run_starts = _NUM_PARTS, tuple(range(num_layers + 1))
    loss = torch.empty((), dtype=torch.float32, device=device)
    layer_sum = torch.empty(num_layers, dtype=torch.float32, device=device)
    layer_count = torch.empty(num_layers, dtype=torch.int64, device=device)
    slope = torch.empty_like(layer_sum)
    _masked_wmse_loss_kernel[(1,)](
        loss,
        layer_sum,
        layer_count,
        slope,
        sums,
        counts,
        run_length,
        by_value(run_starts),
        tuple(weight),
        tuple(weight if normalizer is None else normalizer),
        BY_COUNT=normalizer is None,
        IS_SCALED=is_scaled,
        NUM_LAYERS=num_layers,
        BLOCK=_BLOCK,
    )
    return loss, layer_sum, layer_count, slope
