"""The dynamic mask compiled by numba: each value read once, draws made in the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from immo_compiling import compiled
from immo_kernels._cpu import flat, num_threads, run_rows, table
from immo_kernels._outputs import empty
from immo_kernels._philox_cpu import BLOCK, WORDS, draw_values


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
    masked = empty(x.shape) if out is None else out
    data, row_stride = flat(x)
    run_rows(
        _serial,
        _parallel,
        num_threads(x.numel()),
        x.shape[0],
        masked.view(-1).numpy(),
        data,
        row_stride,
        sample_uid.contiguous().numpy(),
        np.array(segments, dtype=np.int64),
        np.array(thresholds, dtype=np.int64),
        table(shown),
        first_feature,
        seed,
        epoch,
    )
    return masked


_SIGNATURE = (
    "void(int64, int64, float32[::1], float32[::1], int64, int64[::1], int64[::1], int64[::1], "
    "bool_[::1], int64, int64, int64)"
)


@functools.cache
def _serial() -> Callable[..., Any]:
    return compiled(_mask_rows, _SIGNATURE)


@functools.cache
def _parallel() -> Callable[..., Any]:
    return compiled(_mask_blocks, _SIGNATURE, parallel=True)


def _mask_rows(
    first_row: int,
    last_row: int,
    masked: NDArray[np.float32],
    x: NDArray[np.float32],
    row_stride: int,
    sample_uid: NDArray[np.int64],
    segments: NDArray[np.int64],
    thresholds: NDArray[np.int64],
    shown: NDArray[np.bool_],
    first_feature: int,
    seed: int,
    epoch: int,
) -> None:
    words = np.empty(WORDS, np.uint32)
    draws = words.view(np.uint16)
    num_layers = len(thresholds)
    num_features = segments[num_layers]
    for row in range(first_row, last_row):
        for layer in range(num_layers):
            low, high = segments[layer], segments[layer + 1]
            threshold = np.int32(thresholds[layer])
            if threshold == 0 or (len(shown) > 0 and not shown[row * num_layers + layer]):
                masked[row * num_features + low : row * num_features + high] = np.float32(0)
                continue
            for start in range(low, high, BLOCK):
                size = min(BLOCK, high - start)
                skipped = 0
                if threshold < 65536:
                    skipped = draw_values(
                        words, first_feature + start, size, sample_uid[row], seed, epoch
                    )
                source = x[row * row_stride + start : row * row_stride + start + size]
                target = masked[row * num_features + start : row * num_features + start + size]
                draw = draws[skipped : skipped + size]
                for i in range(size):
                    value = source[i]
                    kept = np.int32(draw[i]) < threshold and value == value
                    target[i] = value if kept else np.float32(0)


_mask_rows_inner = numba.njit(_mask_rows)


def _mask_blocks(
    num_blocks: int,
    num_rows: int,
    masked: NDArray[np.float32],
    x: NDArray[np.float32],
    row_stride: int,
    sample_uid: NDArray[np.int64],
    segments: NDArray[np.int64],
    thresholds: NDArray[np.int64],
    shown: NDArray[np.bool_],
    first_feature: int,
    seed: int,
    epoch: int,
) -> None:
    for block in numba.prange(num_blocks):
        _mask_rows_inner(
            block * num_rows // num_blocks,
            (block + 1) * num_rows // num_blocks,
            masked,
            x,
            row_stride,
            sample_uid,
            segments,
            thresholds,
            shown,
            first_feature,
            seed,
            epoch,
        )
