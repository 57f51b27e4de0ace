"""The layer mask in Triton: a block of samples with all of their layers in one program."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from immo_kernels._philox_triton import sample_words
from immo_kernels._tiles import launch_device

_BLOCK = 256  # draws of a program


@triton.jit(do_not_specialize=["num_rows", "num_layers", "threshold", "seed", "epoch"])
def _keep_layers_fwd_kernel(
    shown_ptr,
    measured_ptr,
    uid_ptr,
    num_rows,
    num_layers,
    threshold,
    seed,
    epoch,
    ROWS: tl.constexpr,
    LAYERS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    layer = tl.arange(0, LAYERS)
    place = row[:, None] * num_layers + layer[None, :]
    inside = (row < num_rows)[:, None] & (layer < num_layers)[None, :]
    measured = tl.load(measured_ptr + place, mask=inside, other=0) != 0
    uid = tl.load(uid_ptr + row, mask=row < num_rows, other=0)
    counter = (layer.to(tl.int64) + 2147483648).to(tl.uint32)
    draw, _, _, _ = sample_words(counter[None, :], uid[:, None], seed, epoch)
    shown = measured & (draw.to(tl.int64) < threshold)
    # The largest draw wins, of equal ones the first layer.
    rank = tl.where(measured, draw.to(tl.int64) * LAYERS + (LAYERS - 1 - layer)[None, :], -1)
    any_shown = tl.max(shown.to(tl.int32), axis=1)
    rescued = (rank == tl.max(rank, axis=1)[:, None]) & (any_shown == 0)[:, None]
    tl.store(shown_ptr + place, (shown | (measured & rescued)).to(tl.uint8), mask=inside)


def forward(measured: Tensor, sample_uid: Tensor, threshold: int, seed: int, epoch: int) -> Tensor:
    """See `immo_kernels.keep_layers`; ``threshold`` is round(p * 2**32)."""
    num_rows, num_layers = measured.shape
    shown = torch.empty(measured.shape, dtype=torch.bool, device=measured.device)
    if shown.numel() == 0:
        return shown
    layers = triton.next_power_of_2(num_layers)
    rows = max(1, _BLOCK // layers)
    with launch_device(measured):
        _keep_layers_fwd_kernel[(triton.cdiv(num_rows, rows),)](
            shown.view(torch.uint8),
            measured.contiguous().view(torch.uint8),
            sample_uid.contiguous(),
            num_rows,
            num_layers,
            threshold,
            seed,
            epoch,
            ROWS=rows,
            LAYERS=layers,
            num_warps=1,
        )
    return shown
