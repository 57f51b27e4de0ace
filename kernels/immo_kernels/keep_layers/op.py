"""The public function `keep_layers` and its registration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from immo_kernels._check import check_uid, checked_thresholds
from immo_kernels._library import register
from immo_kernels._paths import Path, choose
from immo_kernels.keep_layers import reference
from immo_kernels.stream import MaskStream


def keep_layers(
    measured: Tensor, sample_uid: Tensor, *, keep_probability: float, stream: MaskStream
) -> Tensor:
    """Draw which measured layers of each sample stay shown to the encoder.

    A measured layer stays shown where its 32-bit draw is below round(keep_probability * 2**32).
    If that would hide every measured layer of a sample, the measured layer with the largest
    draw stays (of equal draws, the first).

    Args:
        measured: True where a sample has a layer, ``(sample, layer)``, bool.
        sample_uid: Identity of each sample, ``(sample,)``, int64.
        keep_probability: Probability that a measured layer stays shown, 0 to 1.
        stream: Seed and epoch of the draws.

    Returns:
        True where a layer is measured and shown, ``(sample, layer)``, bool.

    Raises:
        ValueError: For wrong shapes, dtypes or devices, or a probability outside [0, 1].

    Example:
        >>> measured = torch.tensor([[True, True, False], [False, True, False]])
        >>> keep_layers(
        ...     measured, torch.tensor([7, 8]), keep_probability=0.0, stream=MaskStream(0, 0)
        ... )
        tensor([[False,  True, False],
                [False,  True, False]])
    """
    if measured.dim() != 2 or measured.dtype != torch.bool:
        message = (
            "keep_layers: measured must be a torch.bool (sample, layer) tensor, "
            f"got shape {tuple(measured.shape)}, {measured.dtype}."
        )
        raise ValueError(message)
    check_uid("keep_layers", sample_uid, measured.shape[0], measured.device)
    (threshold,) = checked_thresholds("keep_layers", keep_probability, 1, bits=32)
    shown: Tensor = _OP(measured, sample_uid, threshold, stream.seed, stream.epoch)
    return shown


def _load_cpu() -> Callable[..., Any]:
    from immo_kernels.keep_layers import cpu

    return cpu.forward


def _load_triton() -> Callable[..., Any]:
    from immo_kernels.keep_layers import triton

    return triton.forward


PATHS = {
    "cpu": Path(_load_cpu, device="cpu"),
    "triton": Path(_load_triton, device="cuda", package="triton"),
    "reference": Path(lambda: reference.forward),
}


def _run(measured: Tensor, *arguments: Any) -> Tensor:
    shown: Tensor = choose("keep_layers", PATHS, measured)(measured, *arguments)
    return shown


def _fake(measured: Tensor, *arguments: Any) -> Tensor:
    return torch.empty(measured.shape, dtype=torch.bool, device=measured.device)


_OP = register(
    "keep_layers",
    "(Tensor measured, Tensor sample_uid, int threshold, int seed, int epoch) -> Tensor",
    _run,
    _fake,
)
