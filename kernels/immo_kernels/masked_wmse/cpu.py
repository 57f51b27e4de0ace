"""The loss compiled by numba: both operands read once, residual written in the same pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_compiling import compiled
from immo_kernels._cpu import flat, num_threads, run_rows, table
from immo_kernels._philox_cpu import BLOCK, WORDS, draw_values

_SCOPES = {"observed": 0, "kept": 1, "dropped": 2}
_ALL = 65536  # one above the largest 16-bit draw


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
    """As `immo_kernels.masked_wmse.reference.forward`."""
    num_rows, num_layers = x.shape[0], len(weight)
    row_sum = np.empty((num_rows, num_layers), dtype=np.float64)
    row_count = np.empty((num_rows, num_layers), dtype=np.int64)
    reconstruction, x_hat_stride = flat(x_hat)
    data, x_stride = flat(x)
    buffer = residual
    if buffer is not None and buffer.shape[1] > 1 and buffer.stride(1) != 1:
        buffer = torch.empty(x_hat.shape)
    target, target_stride = (_NOTHING, 0) if buffer is None else flat(buffer)
    run_rows(
        _serial,
        _parallel,
        num_threads(x.numel()),
        num_rows,
        row_sum,
        row_count,
        target,
        target_stride,
        reconstruction,
        x_hat_stride,
        data,
        x_stride,
        sample_uid.contiguous().numpy(),
        np.array(segments, dtype=np.int64),
        np.array(thresholds, dtype=np.int64),
        _SCOPES[scope],
        table(measured),
        table(shown),
        buffer is not None,
        first_feature,
        seed,
        epoch,
    )
    if residual is not None and buffer is not residual and buffer is not None:
        residual.copy_(buffer)
    return _reduced(row_sum, row_count, weight, normalizer)


def scale(residual: Tensor, per_layer: Tensor, segments: Sequence[int]) -> None:
    """Multiply each layer's columns of ``residual`` by its number, in place.

    Args:
        residual: ``(sample, feature)``, float32; neighbouring columns are neighbours in memory.
        per_layer: ``(layer,)``, float32.
        segments: Bounds of the layers.
    """
    values, stride = flat(residual)
    run_rows(
        _serial_scale,
        _parallel_scale,
        num_threads(residual.numel()),
        residual.shape[0],
        values,
        stride,
        np.array(segments, dtype=np.int64),
        per_layer.detach().contiguous().numpy(),
    )


_NOTHING = np.empty(0, dtype=np.float32)


def _reduced(
    row_sum: NDArray[np.float64],
    row_count: NDArray[np.int64],
    weight: Sequence[float],
    normalizer: Sequence[float] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_layers = len(weight)
    loss, layer_sum, slope = torch.empty(()), torch.empty(num_layers), torch.empty(num_layers)
    layer_count = torch.empty(num_layers, dtype=torch.int64)
    _reduce()(
        loss.view(1).numpy(),
        layer_sum.numpy(),
        layer_count.numpy(),
        slope.numpy(),
        row_sum,
        row_count,
        np.array(weight, dtype=np.float64),
        np.array(() if normalizer is None else normalizer, dtype=np.float64),
        normalizer is None,
    )
    return loss, layer_sum, layer_count, slope


_SIGNATURE = (
    "void(int64, int64, float64[:, ::1], int64[:, ::1], float32[::1], int64, float32[::1], int64, "
    "float32[::1], int64, int64[::1], int64[::1], int64[::1], int64, bool_[::1], bool_[::1], "
    "bool_, int64, int64, int64)"
)


@functools.cache
def _serial() -> Callable[..., Any]:
    return compiled(_wmse_rows, _SIGNATURE)


@functools.cache
def _parallel() -> Callable[..., Any]:
    return compiled(_wmse_blocks, _SIGNATURE, parallel=True)


_SCALE_SIGNATURE = "void(int64, int64, float32[::1], int64, int64[::1], float32[::1])"


@functools.cache
def _serial_scale() -> Callable[..., Any]:
    return compiled(_scale_rows, _SCALE_SIGNATURE)


@functools.cache
def _parallel_scale() -> Callable[..., Any]:
    return compiled(_scale_blocks, _SCALE_SIGNATURE, parallel=True)


@functools.cache
def _reduce() -> Callable[..., Any]:
    signature = (
        "void(float32[::1], float32[::1], int64[::1], float32[::1], float64[:, ::1], "
        "int64[:, ::1], float64[::1], float64[::1], bool_)"
    )
    return compiled(_reduce_rows, signature)


@numba.njit
def _draw_range(scope: int, threshold: int, hidden: bool) -> tuple[int, int]:
    """Draws of scored values: from the first number up to, but not with, the second."""
    if scope == 0:
        return 0, _ALL
    limit = 0 if hidden else threshold
    return (0, limit) if scope == 1 else (limit, _ALL)


@numba.njit
def _score_block(
    residual: NDArray[np.float32],
    x_hat: NDArray[np.float32],
    x: NDArray[np.float32],
    draws: NDArray[np.uint16],
    first_draw: int,
    end_draw: int,
) -> int:
    """Write the residuals of a block, 0 where not scored; return how many are scored."""
    first, width = np.uint32(first_draw), np.uint32(end_draw - first_draw)
    count = np.int32(0)
    for i in range(len(x)):
        truth, guess = x[i], x_hat[i]
        scored = (np.uint32(np.uint32(draws[i]) - first) < width) & (truth == truth)
        # Both operands are selected before they meet: a NaN is never subtracted.
        truth = truth if scored else np.float32(0)
        guess = guess if scored else np.float32(0)
        residual[i] = guess - truth
        # Cast back: numba would widen the count, and with it the whole loop, to 64 bits.
        count = np.int32(count + np.int32(scored))
    return int(count)


@numba.njit(fastmath={"reassoc"})
def _sum_of_squares(residual: NDArray[np.float32]) -> float:
    """Sum over one block in float32; SIMD adds in an order fixed by the machine's vectors."""
    total = np.float32(0)
    for i in range(len(residual)):
        total += residual[i] * residual[i]
    return float(total)


@numba.njit
def _copy_block(target: NDArray[np.float32], source: NDArray[np.float32]) -> None:
    # numba's own assignment of a slice takes three times as long.
    for i in range(len(target)):
        target[i] = source[i]


def _wmse_rows(
    first_row: int,
    last_row: int,
    row_sum: NDArray[np.float64],
    row_count: NDArray[np.int64],
    residual: NDArray[np.float32],
    residual_stride: int,
    x_hat: NDArray[np.float32],
    x_hat_stride: int,
    x: NDArray[np.float32],
    x_stride: int,
    sample_uid: NDArray[np.int64],
    segments: NDArray[np.int64],
    thresholds: NDArray[np.int64],
    scope: int,
    measured: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    with_residual: bool,
    first_feature: int,
    seed: int,
    epoch: int,
) -> None:
    words = np.empty(WORDS, np.uint32)
    draws = words.view(np.uint16)
    # Residuals go through this block: the target may be x_hat itself, and SIMD needs to know
    # that what it writes is not what it reads.
    block = np.empty(BLOCK, np.float32)
    num_layers = len(thresholds)
    for row in range(first_row, last_row):
        for layer in range(num_layers):
            low, high = segments[layer], segments[layer + 1]
            place = row * num_layers + layer
            hidden = len(shown) > 0 and not shown[place]
            first_draw, end_draw = _draw_range(scope, thresholds[layer], hidden)
            row_sum[row, layer] = 0.0
            row_count[row, layer] = 0
            if first_draw == end_draw or (len(measured) > 0 and not measured[place]):
                if with_residual:
                    at = row * residual_stride
                    residual[at + low : at + high] = np.float32(0)
                continue
            for start in range(low, high, BLOCK):
                size = min(BLOCK, high - start)
                skipped = 0
                if first_draw > 0 or end_draw < _ALL:
                    skipped = draw_values(
                        words, first_feature + start, size, sample_uid[row], seed, epoch
                    )
                at, at_hat = row * x_stride + start, row * x_hat_stride + start
                row_count[row, layer] += _score_block(
                    block,
                    x_hat[at_hat : at_hat + size],
                    x[at : at + size],
                    draws[skipped : skipped + size],
                    first_draw,
                    end_draw,
                )
                row_sum[row, layer] += _sum_of_squares(block[:size])
                if with_residual:
                    at = row * residual_stride + start
                    _copy_block(residual[at : at + size], block)


_wmse_rows_inner = numba.njit(_wmse_rows)


def _wmse_blocks(
    num_blocks: int,
    num_rows: int,
    row_sum: NDArray[np.float64],
    row_count: NDArray[np.int64],
    residual: NDArray[np.float32],
    residual_stride: int,
    x_hat: NDArray[np.float32],
    x_hat_stride: int,
    x: NDArray[np.float32],
    x_stride: int,
    sample_uid: NDArray[np.int64],
    segments: NDArray[np.int64],
    thresholds: NDArray[np.int64],
    scope: int,
    measured: NDArray[np.bool_],
    shown: NDArray[np.bool_],
    with_residual: bool,
    first_feature: int,
    seed: int,
    epoch: int,
) -> None:
    for block in numba.prange(num_blocks):
        _wmse_rows_inner(
            block * num_rows // num_blocks,
            (block + 1) * num_rows // num_blocks,
            row_sum,
            row_count,
            residual,
            residual_stride,
            x_hat,
            x_hat_stride,
            x,
            x_stride,
            sample_uid,
            segments,
            thresholds,
            scope,
            measured,
            shown,
            with_residual,
            first_feature,
            seed,
            epoch,
        )


def _scale_rows(
    first_row: int,
    last_row: int,
    residual: NDArray[np.float32],
    residual_stride: int,
    segments: NDArray[np.int64],
    per_layer: NDArray[np.float32],
) -> None:
    for row in range(first_row, last_row):
        for layer in range(len(per_layer)):
            at = row * residual_stride
            values = residual[at + segments[layer] : at + segments[layer + 1]]
            factor = per_layer[layer]
            for i in range(len(values)):
                values[i] *= factor


_scale_rows_inner = numba.njit(_scale_rows)


def _scale_blocks(
    num_blocks: int,
    num_rows: int,
    residual: NDArray[np.float32],
    residual_stride: int,
    segments: NDArray[np.int64],
    per_layer: NDArray[np.float32],
) -> None:
    for block in numba.prange(num_blocks):
        _scale_rows_inner(
            block * num_rows // num_blocks,
            (block + 1) * num_rows // num_blocks,
            residual,
            residual_stride,
            segments,
            per_layer,
        )


def _reduce_rows(
    loss: NDArray[np.float32],
    layer_sum: NDArray[np.float32],
    layer_count: NDArray[np.int64],
    slope: NDArray[np.float32],
    row_sum: NDArray[np.float64],
    row_count: NDArray[np.int64],
    weight: NDArray[np.float64],
    normalizer: NDArray[np.float64],
    by_count: bool,
) -> None:
    """Add the rows in order and weigh the layers; slope is 2 alpha_i / |X_i|."""
    num_layers = len(weight)
    weighted = 0.0
    for layer in range(num_layers):
        total, count = 0.0, 0
        for row in range(len(row_sum)):
            total += row_sum[row, layer]
            count += row_count[row, layer]
        size = float(count) if by_count else normalizer[layer]
        factor = weight[layer] / size if size > 0 else 0.0
        if factor > 0:
            weighted += factor * total
        layer_sum[layer] = total
        layer_count[layer] = count
        slope[layer] = 2 * factor
    loss[0] = weighted
