"""The public functions `masked_linear` and `masked_linear_by_matrix`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from immo_kernels._check import check_matrix, check_uid, checked_segments, checked_thresholds
from immo_kernels._library import register
from immo_kernels._once import once
from immo_kernels.masked_linear.blocked import Masking, by_matrix, forward
from immo_kernels.stream import MaskStream

_NAME = "masked_linear"
_TWICE = "immo_kernels.masked_linear.reference"


def masked_linear(
    x: Tensor,
    matrix: Tensor,
    bias: Tensor,
    sample_uid: Tensor,
    *,
    keep_probability: float,
    stream: MaskStream,
    first_feature: int = 0,
    rows: Tensor | None = None,
) -> Tensor:
    """``dynamic_mask(x) @ matrix.T + bias`` of one layer, in feature blocks.

    The masked copy of ``x`` never exists as a whole, nor is it kept for the backward pass, which
    draws the masks again. Values do not depend on the blocks but for the rounding of sums.

    Args:
        x: Data, ``(sample, feature)``, floating, NaN = missing. Not differentiated. In half
            precision on a GPU, ``matrix`` is rounded to its dtype in products; sums are float32.
        matrix: ``(out, feature)``, floating.
        bias: ``(out,)``, dtype of ``matrix``.
        sample_uid: Identity of each sample, ``(sample,)``, int64.
        keep_probability: Probability that a value is kept, 0 to 1, in steps of 2**-16.
        stream: Seed and epoch of the draws.
        first_feature: Index of column 0 among all features of the model.
        rows: Places of the samples to work on, ``(row,)``, int64; others are not read.
            None = all samples.

    Returns:
        ``(row, out)``, dtype of ``matrix``; differentiable in ``matrix`` and ``bias``.

    Raises:
        ValueError: For wrong shapes, dtypes or devices, an ``x`` that requires a gradient, or a
            probability outside [0, 1].
        RuntimeError: From a second derivative, which the op does not have.

    Example:
        >>> x = torch.tensor([[1.0, torch.nan], [5.0, 6.0]])
        >>> masked_linear(x, torch.tensor([[1.0, 2.0]]), torch.tensor([0.5]), torch.arange(2),
        ...               keep_probability=1.0, stream=MaskStream(seed=0, epoch=0))
        tensor([[ 1.5000],
                [17.5000]])
    """
    masking = _checked(x, sample_uid, keep_probability, stream, first_feature, rows)
    if (
        matrix.dim() != 2
        or matrix.shape[1] != x.shape[1]
        or bias.shape != matrix.shape[:1]
        or not matrix.is_floating_point()
        or bias.dtype != matrix.dtype
        or not x.device == matrix.device == bias.device
    ):
        message = (
            f"{_NAME}: matrix (out, feature) and bias (out,) must be of one floating dtype and "
            f"belong to x (sample, feature) on one device, got matrix {tuple(matrix.shape)} "
            f"{matrix.dtype} on {matrix.device}, bias {tuple(bias.shape)} {bias.dtype} on "
            f"{bias.device}, x {tuple(x.shape)} on {x.device}."
        )
        raise ValueError(message)
    result: Tensor = _OP(x, matrix, bias, *masking)
    return result


def masked_linear_by_matrix(
    upstream: Tensor,
    x: Tensor,
    sample_uid: Tensor,
    *,
    keep_probability: float,
    stream: MaskStream,
    first_feature: int = 0,
    rows: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Gradient of `masked_linear` by ``matrix``, for a backward pass that is written out.

    Args:
        upstream: Gradient by the result, ``(row, out)``, floating.
        x: As for `masked_linear`, like all arguments but the last.
        sample_uid: As for `masked_linear`.
        keep_probability: As for `masked_linear`.
        stream: As for `masked_linear`.
        first_feature: As for `masked_linear`.
        rows: As for `masked_linear`.
        out: Where to write it, ``(out, feature)``; None: into a new tensor.

    Returns:
        ``(out, feature)``, dtype of ``upstream`` unless ``out`` is given.

    Raises:
        ValueError: As `masked_linear`, and for an ``upstream`` or ``out`` of other shapes.
    """
    masking = Masking(x, *_checked(x, sample_uid, keep_probability, stream, first_feature, rows))
    check_matrix(_NAME, "upstream", upstream)
    shape = (upstream.shape[1], x.shape[1])
    if len(upstream) != masking.num_rows or (out is not None and out.shape != shape):
        message = (
            f"{_NAME}: upstream must be ({masking.num_rows}, out) and out (out, {x.shape[1]}), "
            f"got {tuple(upstream.shape)} and {None if out is None else tuple(out.shape)}."
        )
        raise ValueError(message)
    with torch.no_grad():
        result = upstream.new_empty(shape) if out is None else out
        by_matrix(upstream, masking, result)
    return result


def _checked(
    x: Tensor,
    sample_uid: Tensor,
    keep_probability: float,
    stream: MaskStream,
    first_feature: int,
    rows: Tensor | None,
) -> tuple[Any, ...]:
    """The fields of `Masking` after ``x``."""
    check_matrix(_NAME, "x", x)
    if x.requires_grad:
        message = (
            f"{_NAME}: x is not differentiated, got one that requires a gradient; use "
            "dynamic_mask and a linear map."
        )
        raise ValueError(message)
    checked_segments(_NAME, None, x.shape[1], first_feature)
    check_uid(_NAME, sample_uid, len(x), x.device)
    if rows is not None and (
        rows.dim() != 1 or rows.dtype != torch.int64 or rows.device != x.device
    ):
        message = (
            f"{_NAME}: rows must be (row,), torch.int64, on {x.device}, got shape "
            f"{tuple(rows.shape)}, {rows.dtype}, on {rows.device}."
        )
        raise ValueError(message)
    (threshold,) = checked_thresholds(_NAME, keep_probability, 1, bits=16)
    return sample_uid, threshold, stream.seed, stream.epoch, first_feature, rows


class _MaskedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: Callable[..., Tensor], *arguments: Any) -> Tensor:
        x, matrix, bias, others = arguments
        ctx.save_for_backward(x)
        ctx.others = others
        return op(x, matrix, bias, *others)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        (x,) = ctx.saved_tensors
        found = _BY_MATRIX(upstream.detach(), x, *ctx.others), upstream.detach().sum(0)
        return None, None, *(once(part, _NAME, _TWICE) for part in found), None


def _run(x: Tensor, matrix: Tensor, bias: Tensor, *arguments: Any) -> Tensor:
    return forward(matrix, bias, Masking(x, *arguments))


def _fake(x: Tensor, matrix: Tensor, bias: Tensor, *arguments: Any) -> Tensor:
    rows = arguments[-1]
    return matrix.new_empty(len(x) if rows is None else len(rows), len(matrix))


def _run_by_matrix(upstream: Tensor, x: Tensor, *arguments: Any) -> Tensor:
    found = upstream.new_empty(upstream.shape[1], x.shape[1])
    by_matrix(upstream, Masking(x, *arguments), found)
    return found


def _fake_by_matrix(upstream: Tensor, x: Tensor, *arguments: Any) -> Tensor:
    return upstream.new_empty(upstream.shape[1], x.shape[1])


_MASKING = (
    "Tensor sample_uid, int threshold, int seed, int epoch, SymInt first_feature, Tensor? rows"
)
_BY_MATRIX = register(
    "masked_linear_by_matrix",
    f"(Tensor upstream, Tensor x, {_MASKING}) -> Tensor",
    _run_by_matrix,
    _fake_by_matrix,
)
_OP = register(
    _NAME,
    f"(Tensor x, Tensor matrix, Tensor bias, {_MASKING}) -> Tensor",
    _run,
    _fake,
    _MaskedLinear,
    num_inputs=3,
)
