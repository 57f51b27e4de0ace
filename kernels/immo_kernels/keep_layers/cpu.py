"""The layer mask compiled by numba; one thread, as the table is small."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_compiling import compiled
from immo_kernels._cpu import table
from immo_kernels._philox_cpu import philox4x32


def forward(measured: Tensor, sample_uid: Tensor, threshold: int, seed: int, epoch: int) -> Tensor:
    """See `immo_kernels.keep_layers`; ``threshold`` is round(p * 2**32)."""
    shown = torch.empty(measured.shape, dtype=torch.bool)
    _compiled()(
        shown.view(-1).numpy(),
        table(measured),
        sample_uid.contiguous().numpy(),
        measured.shape[1],
        threshold,
        seed,
        epoch,
    )
    return shown


@functools.cache
def _compiled() -> Callable[..., Any]:
    signature = "void(bool_[::1], bool_[::1], int64[::1], int64, int64, int64, int64)"
    return compiled(_keep_layers, signature)


def _keep_layers(
    shown: NDArray[np.bool_],
    measured: NDArray[np.bool_],
    sample_uid: NDArray[np.int64],
    num_layers: int,
    threshold: int,
    seed: int,
    epoch: int,
) -> None:
    word, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    key = np.uint64(seed)
    for row in range(len(sample_uid)):
        uid = np.uint64(sample_uid[row])
        largest, rescued, any_shown = -1, -1, False
        for layer in range(num_layers):
            place = row * num_layers + layer
            shown[place] = False
            if not measured[place]:
                continue
            draw = int(
                philox4x32(
                    np.uint64(2**31 + layer),
                    np.uint64(epoch),
                    uid & word,
                    uid >> half,
                    key & word,
                    key >> half,
                )[0]
            )
            if draw < threshold:
                shown[place] = True
                any_shown = True
            if draw > largest:
                largest, rescued = draw, place
        if rescued >= 0 and not any_shown:
            shown[rescued] = True
