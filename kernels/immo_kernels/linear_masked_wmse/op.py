"""The public functions `linear_masked_wmse` and `linear_masked_wmse_and_gradients`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from immo_kernels._check import check_matrix
from immo_kernels._library import register
from immo_kernels.linear_masked_wmse.blocked import (
    LinearGradients,
    Scoring,
    empty_gradients,
    forward,
)
from immo_kernels.linear_masked_wmse.gradient import OP, EagerLinearWmse, GraphLinearWmse
from immo_kernels.masked_wmse import MaskedWmse
from immo_kernels.masked_wmse.arguments import Scope, checked_scoring
from immo_kernels.masked_wmse.reference import loss_dtype
from immo_kernels.stream import MaskStream


def linear_masked_wmse(
    h: Tensor,
    matrix: Tensor,
    bias: Tensor,
    x: Tensor,
    sample_uid: Tensor,
    *,
    weight: float | Sequence[float],
    keep_probability: float | Sequence[float],
    stream: MaskStream,
    scope: Scope = "observed",
    normalizer: float | Sequence[float] | None = None,
    segments: Sequence[int] | None = None,
    first_feature: int = 0,
    measured: Tensor | None = None,
    shown: Tensor | None = None,
) -> MaskedWmse:
    """`masked_wmse` of ``x_hat = h @ matrix.T + bias``, in feature blocks.

    Neither ``x_hat`` nor its gradient exists as a whole: beside the gradients of ``matrix`` and
    ``bias`` the memory does not grow with the number of features. Which values are scored does
    not depend on the blocks.

    Args:
        h: Input of the linear map, ``(sample, hidden)``, floating.
        matrix: Weights of the linear map, ``(feature, hidden)``, dtype of ``h``.
        bias: ``(feature,)``, dtype of ``h``.
        x: Measurement, ``(sample, feature)``, floating, NaN = missing. Not differentiated.
            In half precision on a GPU, ``h`` and ``matrix`` are rounded to its dtype in
            products; sums are float32.
        sample_uid: Identity of each sample, ``(sample,)``, int64.
        weight: As for `masked_wmse`, like all arguments that follow.
        keep_probability: As for `masked_wmse`.
        stream: As for `masked_wmse`.
        scope: As for `masked_wmse`.
        normalizer: As for `masked_wmse`; None costs one more read of ``x``.
        segments: As for `masked_wmse`.
        first_feature: As for `masked_wmse`.
        measured: As for `masked_wmse`.
        shown: As for `masked_wmse`.

    Returns:
        As `masked_wmse`; the loss is differentiable in ``h``, ``matrix`` and ``bias``.

    Raises:
        ValueError: As `masked_wmse`, and for operands whose shapes, dtypes or devices do not
            belong together.
        RuntimeError: From a second derivative, which the op does not have.

    Example:
        >>> h, matrix, bias = torch.tensor([[2.0]]), torch.tensor([[1.0], [3.0]]), torch.zeros(2)
        >>> x = torch.tensor([[1.0, torch.nan]])
        >>> linear_masked_wmse(h, matrix, bias, x, torch.tensor([42]), weight=1.0,
        ...                    keep_probability=1.0, stream=MaskStream(seed=0, epoch=0))
        MaskedWmse(loss=tensor(1.), layer_sum=tensor([1.]), layer_count=tensor([1]))
    """
    arguments = _checked(
        *(h, matrix, bias, x, sample_uid, weight, keep_probability, stream),
        *(scope, normalizer, segments, first_feature, measured, shown),
    )
    operands = (h, matrix, bias)
    wants = torch.is_grad_enabled() and any(part.requires_grad for part in operands)
    if not wants or torch.compiler.is_compiling():
        return MaskedWmse(*_OP(*operands, *arguments, wants)[:3])

    def run() -> tuple[Tensor, ...]:
        return _run(*(part.detach() for part in operands), *arguments, True)

    return MaskedWmse(*EagerLinearWmse.apply(run, *operands))  # type: ignore[no-untyped-call]


def linear_masked_wmse_and_gradients(
    h: Tensor,
    matrix: Tensor,
    bias: Tensor,
    x: Tensor,
    sample_uid: Tensor,
    *,
    weight: float | Sequence[float],
    keep_probability: float | Sequence[float],
    stream: MaskStream,
    scope: Scope = "observed",
    normalizer: float | Sequence[float] | None = None,
    segments: Sequence[int] | None = None,
    first_feature: int = 0,
    measured: Tensor | None = None,
    shown: Tensor | None = None,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[MaskedWmse, LinearGradients]:
    """`linear_masked_wmse` and its gradients, outside of autograd.

    Args:
        h: As for `linear_masked_wmse`, like all arguments but the last; whether they require
            gradients does not matter.
        matrix: As for `linear_masked_wmse`.
        bias: As for `linear_masked_wmse`.
        x: As for `linear_masked_wmse`.
        sample_uid: As for `linear_masked_wmse`.
        weight: As for `linear_masked_wmse`.
        keep_probability: As for `linear_masked_wmse`.
        stream: As for `linear_masked_wmse`.
        scope: As for `linear_masked_wmse`.
        normalizer: As for `linear_masked_wmse`.
        segments: As for `linear_masked_wmse`.
        first_feature: As for `linear_masked_wmse`.
        measured: As for `linear_masked_wmse`.
        shown: As for `linear_masked_wmse`.
        out: Where to write the gradients by ``matrix`` and ``bias``, of their shapes; None:
            into new tensors.

    Returns:
        The loss, and its gradients.

    Raises:
        ValueError: As `linear_masked_wmse`, and for an ``out`` of other shapes.
    """
    arguments = _checked(
        *(h, matrix, bias, x, sample_uid, weight, keep_probability, stream),
        *(scope, normalizer, segments, first_feature, measured, shown),
    )
    if out is None:
        out = torch.empty_like(matrix), torch.empty_like(bias)
    elif (out[0].shape, out[1].shape) != (matrix.shape, bias.shape):
        message = (
            f"{OP}: out must be of the shapes of matrix and bias, {tuple(matrix.shape)} and "
            f"{tuple(bias.shape)}, got {tuple(out[0].shape)} and {tuple(out[1].shape)}."
        )
        raise ValueError(message)
    with torch.no_grad():
        gradients = LinearGradients(torch.empty_like(h), *out)
        return MaskedWmse(*forward(h, matrix, bias, Scoring(*arguments), gradients)), gradients


def _checked(
    h: Tensor, matrix: Tensor, bias: Tensor, x: Tensor, sample_uid: Tensor, *scoring: Any
) -> tuple[Any, ...]:
    """The fields of `Scoring`."""
    check_matrix(OP, "h", h)
    check_matrix(OP, "x", x)
    shapes = (
        (len(x), h.shape[1]),
        (x.shape[1], h.shape[1]),
        x.shape[1:],
    )
    operands = (h, matrix, bias)
    if (
        any(part.shape != shape for part, shape in zip(operands, shapes, strict=True))
        or not h.dtype == matrix.dtype == bias.dtype
        or not h.device == matrix.device == bias.device == x.device
    ):
        found = ", ".join(
            f"{name} {tuple(part.shape)} {part.dtype} on {part.device}"
            for name, part in zip(("h", "matrix", "bias", "x"), (*operands, x), strict=True)
        )
        message = (
            f"{OP}: h (sample, hidden), matrix (feature, hidden) and bias (feature,) must be of "
            f"one dtype and belong to x (sample, feature) on one device, got {found}."
        )
        raise ValueError(message)
    return checked_scoring(OP, x, sample_uid, *scoring)[1]


def _run(h: Tensor, matrix: Tensor, bias: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *scoring, with_gradients = arguments
    gradients = empty_gradients(h, matrix, bias) if with_gradients else None
    results = forward(h, matrix, bias, Scoring(*scoring), gradients)
    # An op returns tensors only: no elements stand for "not wanted".
    return *results, *(gradients or (h.new_empty(0), h.new_empty(0), h.new_empty(0)))


def _fake(h: Tensor, matrix: Tensor, bias: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    x, weight, with_gradients = arguments[0], arguments[2], arguments[-1]
    sums = torch.empty(len(weight), dtype=loss_dtype(matrix, x), device=x.device)
    counts = torch.empty(len(weight), dtype=torch.int64, device=x.device)
    gradients = empty_gradients(h, matrix, bias) if with_gradients else None
    return (
        *(sums.new_empty(()), sums, counts),
        *(gradients or (h.new_empty(0), h.new_empty(0), h.new_empty(0))),
    )


_OP = register(
    OP,
    "(Tensor h, Tensor matrix, Tensor bias, Tensor x, Tensor sample_uid, float[] weight, "
    "int[] thresholds, int seed, int epoch, str scope, float[]? normalizer, SymInt[] segments, "
    "SymInt first_feature, Tensor? measured, Tensor? shown, bool with_gradients) "
    "-> (Tensor loss, Tensor layer_sum, Tensor layer_count, Tensor by_h, Tensor by_matrix, "
    "Tensor by_bias)",
    _run,
    _fake,
    GraphLinearWmse,
    num_inputs=3,
)
