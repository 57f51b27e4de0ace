"""The public functions `dynamic_mask` and `keep_values`, and their registration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from immo_kernels._check import (
    check_matrix,
    check_table,
    check_uid,
    checked_segments,
    checked_thresholds,
)
from immo_kernels._library import register
from immo_kernels._paths import TRITON_DTYPES, Path, choose
from immo_kernels.dynamic_mask import reference
from immo_kernels.stream import MaskStream


def dynamic_mask(
    x: Tensor,
    sample_uid: Tensor,
    *,
    keep_probability: float | Sequence[float],
    stream: MaskStream,
    segments: Sequence[int] | None = None,
    first_feature: int = 0,
    shown: Tensor | None = None,
) -> Tensor:
    """Hide values at random and fill what is missing with 0 (Eqs. 2 and 3).

    The keep decision of a value is a pure function of (seed, epoch, sample_uid, feature index);
    it does not depend on the other samples, the path, the dtype or the device.

    Args:
        x: Data, ``(sample, feature)``, floating, NaN = missing; any strides.
        sample_uid: Identity of each sample, ``(sample,)``, int64.
        keep_probability: Probability that a value of a layer is kept, 0 to 1, in steps of
            2**-16: one number a layer, or one for all.
        stream: Seed and epoch of the draws.
        segments: Bounds of the layers in the columns, from 0 to the number of features;
            None = one layer.
        first_feature: Index of column 0 among all features of the model.
        shown: False where a sample's layer is hidden or absent: its values are not read and
            come out as 0. ``(sample, layer)``, bool; None = all shown.

    Returns:
        Masked data, shape and dtype of ``x``, contiguous: kept values as they were, 0 elsewhere.
        Differentiable in ``x``.

    Raises:
        ValueError: For wrong shapes, dtypes or devices, segments that do not rise from 0 to the
            number of features, or probabilities outside [0, 1].

    Example:
        >>> x = torch.tensor([[1.0, torch.nan, 3.0, 4.0]])
        >>> uid = torch.tensor([42])
        >>> stream = MaskStream(seed=0, epoch=0)
        >>> dynamic_mask(x, uid, keep_probability=[1, 0], stream=stream, segments=[0, 3, 4])
        tensor([[1., 0., 3., 0.]])
    """
    check_matrix("dynamic_mask", "x", x)
    num_samples, num_features = x.shape
    bounds = checked_segments("dynamic_mask", segments, num_features, first_feature)
    num_layers = len(bounds) - 1
    check_uid("dynamic_mask", sample_uid, num_samples, x.device)
    check_table("dynamic_mask", "shown", shown, num_samples, num_layers, x.device)
    thresholds = checked_thresholds("dynamic_mask", keep_probability, num_layers, bits=16)
    masked: Tensor = _OP(
        x, sample_uid, thresholds, stream.seed, stream.epoch, bounds, first_feature, shown
    )
    return masked


def keep_values(
    sample_uid: Tensor,
    num_features: int,
    *,
    keep_probability: float | Sequence[float],
    stream: MaskStream,
    segments: Sequence[int] | None = None,
    first_feature: int = 0,
) -> Tensor:
    """The keep decisions that `dynamic_mask` takes with the same arguments.

    Args:
        sample_uid: Identity of each sample, ``(sample,)``, int64.
        num_features: Number of columns.
        keep_probability: As for `dynamic_mask`.
        stream: As for `dynamic_mask`.
        segments: As for `dynamic_mask`.
        first_feature: As for `dynamic_mask`.

    Returns:
        True where a value is kept, ``(sample, feature)``, bool.

    Raises:
        ValueError: As for `dynamic_mask`.

    Example:
        >>> keep_values(
        ...     torch.tensor([3]), 5, keep_probability=0.5, stream=MaskStream(seed=0, epoch=0)
        ... )
        tensor([[ True, False, False,  True, False]])
    """
    if sample_uid.dim() != 1 or num_features < 0:
        message = (
            "keep_values: sample_uid must be (sample,) and num_features >= 0, "
            f"got {tuple(sample_uid.shape)} and {num_features}."
        )
        raise ValueError(message)
    ones = torch.ones(sample_uid.shape[0], num_features, device=sample_uid.device)
    masked = dynamic_mask(
        ones,
        sample_uid,
        keep_probability=keep_probability,
        stream=stream,
        segments=segments,
        first_feature=first_feature,
    )
    return masked != 0


def _load_cpu() -> Callable[..., Any]:
    from immo_kernels.dynamic_mask import cpu

    return cpu.forward


def _load_triton() -> Callable[..., Any]:
    from immo_kernels.dynamic_mask import triton

    return triton.forward


PATHS = {
    "cpu": Path(_load_cpu, device="cpu", dtypes=(torch.float32,)),
    "triton": Path(_load_triton, device="cuda", dtypes=TRITON_DTYPES, package="triton"),
    "reference": Path(lambda: reference.forward),
}


def _run(x: Tensor, *arguments: Any) -> Tensor:
    masked: Tensor = choose("dynamic_mask", PATHS, x)(x, *arguments)
    return masked.contiguous()


def _fake(x: Tensor, *arguments: Any) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


class _DynamicMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: Callable[..., Tensor], x: Tensor, others: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.others = others
        return op(x, *others)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        # The mask is drawn again, by masking ones.
        (x,) = ctx.saved_tensors
        ones = torch.ones_like(x).masked_fill(x.isnan(), torch.nan)
        kept = _OP(ones, *ctx.others) != 0
        return None, torch.where(kept, upstream, 0.0), None


_OP = register(
    "dynamic_mask",
    "(Tensor x, Tensor sample_uid, int[] thresholds, int seed, int epoch, SymInt[] segments, "
    "SymInt first_feature, Tensor? shown) -> Tensor",
    _run,
    _fake,
    _DynamicMask,
)
