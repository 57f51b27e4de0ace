"""The public function `masked_wmse`, its registration and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from immo_kernels._check import (
    check_matrix,
    check_table,
    check_uid,
    checked_layer_values,
    checked_segments,
    checked_thresholds,
)
from immo_kernels._layout import by_feature
from immo_kernels._library import register
from immo_kernels._paths import Path, choose
from immo_kernels.masked_wmse import reference
from immo_kernels.stream import MaskStream

Scope = Literal["observed", "kept", "dropped"]
_SCOPES = ("observed", "kept", "dropped")


class MaskedWmse(NamedTuple):
    """The loss and what it is made of.

    Attributes:
        loss: Equation 7, ``()``; the only differentiable part.
        layer_sum: Sum of squared errors over the scored values of each layer, ``(layer,)``.
        layer_count: Number of scored values of each layer, ``(layer,)``, int64.
    """

    loss: Tensor
    layer_sum: Tensor
    layer_count: Tensor


def masked_wmse(
    x_hat: Tensor,
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
    overwrite_x_hat: bool = False,
) -> MaskedWmse:
    """Weighted masked mean squared error (Eq. 7), with the masks of `dynamic_mask`.

    loss = sum over layers i of weight_i / |X_i| * sum over scored values of (x_hat - x)^2.
    Values that are not scored may hold anything, NaN and infinity too: they reach neither the
    loss nor the gradient. Layers not measured are not read.

    Args:
        x_hat: Reconstruction, ``(sample, feature)``, floating, any strides.
        x: Measurement, same shape and units, NaN = missing. Not differentiated.
        sample_uid: Identity of each sample, ``(sample,)``, int64.
        weight: alpha_i >= 0: one number a layer, or one for all.
        keep_probability: As given to `dynamic_mask`; decides what 'kept' and 'dropped' mean.
        stream: As given to `dynamic_mask`.
        scope: Which measured values are scored: 'observed' (all), 'kept' (those shown to the
            encoder: the published loss) or 'dropped' (those hidden from it).
        normalizer: |X_i| >= 0, one number a layer or one for all; a layer with 0 adds 0.
            None = the number of scored values of the layer.
        segments: As given to `dynamic_mask`.
        first_feature: As given to `dynamic_mask`.
        measured: False where a sample lacks a layer, ``(sample, layer)``, bool; None = NaN
            alone decides.
        shown: False where a sample's layer was hidden from the encoder, ``(sample, layer)``,
            bool: its measured values count as dropped. None = all shown.
        overwrite_x_hat: Allow the gradient to take the memory of ``x_hat``, which then holds
            no reconstruction any more; backward can run only once.

    Returns:
        Loss and layer sums in float32, in float64 if ``x_hat`` or ``x`` is. The loss is 0 with
        zero gradient where nothing is scored.

    Raises:
        ValueError: For wrong shapes, dtypes or devices, segments that do not rise from 0 to the
            number of features, probabilities outside [0, 1], negative weights or normalisers,
            an unknown scope, or an ``x_hat`` that cannot be overwritten.
        RuntimeError: From a second derivative, which the op does not have.

    Example:
        >>> x = torch.tensor([[1.0, 2.0], [torch.nan, 4.0]])
        >>> x_hat = torch.tensor([[1.0, 1.0], [0.0, 6.0]])
        >>> uid = torch.tensor([42, 43])
        >>> stream = MaskStream(seed=0, epoch=0)
        >>> masked_wmse(x_hat, x, uid, weight=3.0, keep_probability=1.0, stream=stream)
        MaskedWmse(loss=tensor(5.), layer_sum=tensor([5.]), layer_count=tensor([3]))
    """
    check_matrix("masked_wmse", "x_hat", x_hat)
    check_matrix("masked_wmse", "x", x)
    if x_hat.shape != x.shape or x_hat.device != x.device:
        message = (
            f"masked_wmse: x_hat and x must be of one shape on one device, got x_hat "
            f"{tuple(x_hat.shape)} on {x_hat.device}, x {tuple(x.shape)} on {x.device}."
        )
        raise ValueError(message)
    if scope not in _SCOPES:
        message = f"masked_wmse: scope must be one of {', '.join(_SCOPES)}, got {scope!r}."
        raise ValueError(message)
    num_samples, num_features = x.shape
    bounds = checked_segments("masked_wmse", segments, num_features, first_feature)
    num_layers = len(bounds) - 1
    check_uid("masked_wmse", sample_uid, num_samples, x.device)
    check_table("masked_wmse", "measured", measured, num_samples, num_layers, x.device)
    check_table("masked_wmse", "shown", shown, num_samples, num_layers, x.device)
    arguments = (
        x,
        sample_uid,
        checked_layer_values("masked_wmse", "weight", weight, num_layers),
        checked_thresholds("masked_wmse", keep_probability, num_layers, bits=16),
        stream.seed,
        stream.epoch,
        scope,
        None
        if normalizer is None
        else checked_layer_values("masked_wmse", "normalizer", normalizer, num_layers),
        bounds,
        first_feature,
        measured,
        shown,
    )
    if overwrite_x_hat:
        _check_overwritable(x_hat)
    wants_gradient = x_hat.requires_grad and torch.is_grad_enabled()
    # A compiled graph plans its memory itself: the permission is not used there.
    if overwrite_x_hat and wants_gradient and not torch.compiler.is_compiling():
        return MaskedWmse(*_OverwritingWmse.apply(x_hat, arguments))  # type: ignore[no-untyped-call]
    loss, layer_sum, layer_count, _, _ = _OP(x_hat, *arguments, wants_gradient)
    return MaskedWmse(loss, layer_sum, layer_count)


def _check_overwritable(x_hat: Tensor) -> None:
    memory = x_hat._base if x_hat._base is not None else x_hat
    if memory.requires_grad and memory.is_leaf:
        found = "a leaf that requires a gradient"
    elif any(
        size > 1 and step == 0 for size, step in zip(x_hat.shape, x_hat.stride(), strict=True)
    ):
        found = f"an expanded tensor with strides {x_hat.stride()}"
    else:
        return
    message = f"masked_wmse: overwrite_x_hat needs an x_hat that can be overwritten, got {found}."
    raise ValueError(message)


def _load_cpu() -> Callable[..., Any]:
    from immo_kernels.masked_wmse import cpu

    return cpu.forward


_PATHS = {
    "cpu": Path(_load_cpu, device="cpu", dtype=torch.float32),
    "reference": Path(lambda: reference.forward),
}

_SEGMENTS = 8  # place among the op's arguments after x_hat


def _run(x_hat: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *arguments_of_path, with_gradient = arguments
    # Rows of the shape (0, 0) stand for "not wanted": an op returns tensors only.
    residual = torch.empty(
        x_hat.shape if with_gradient else (0, 0), dtype=x_hat.dtype, device=x_hat.device
    )
    path = choose("masked_wmse", _PATHS, x_hat, x)
    results = path(x_hat, x, *arguments_of_path, residual if with_gradient else None)
    return *results, residual


def _fake(x_hat: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    weight, with_gradient = arguments[1], arguments[-1]
    sums = torch.empty(len(weight), dtype=reference.loss_dtype(x_hat, x), device=x.device)
    count = torch.empty(len(weight), dtype=torch.int64, device=x.device)
    shape = x_hat.shape if with_gradient else (0, 0)
    residual = torch.empty(shape, dtype=x_hat.dtype, device=x.device)
    return sums.new_empty(()), sums, count, torch.empty_like(sums), residual


def _scale(slope: Tensor, upstream: Tensor, segments: Sequence[int]) -> Tensor:
    """What a residual is multiplied by to give the gradient, ``(feature,)`` or ``(1,)``."""
    per_layer = slope * upstream
    return per_layer if len(segments) == 2 else by_feature(per_layer, segments)


class _MaskedWmse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: Callable[..., Any], x_hat: Tensor, others: tuple[Any, ...]) -> Any:
        results = op(x_hat, *others)
        ctx.save_for_backward(results[3], results[4])
        ctx.segments, ctx.with_gradient = others[_SEGMENTS], others[-1]
        ctx.mark_non_differentiable(*results[1:])
        # Otherwise backward is given zeros for every other result, the residual too.
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if upstream is None:
            return None, None, None
        if not ctx.with_gradient:
            message = "masked_wmse: the op was called with with_gradient=False; it has no gradient."
            raise RuntimeError(message)
        slope, residual = ctx.saved_tensors
        gradient = residual * _scale(slope, upstream, ctx.segments)
        if gradient.dtype != residual.dtype:
            gradient = gradient.to(residual.dtype)
        return None, _once(gradient), None


class _OverwritingWmse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_hat: Tensor, arguments: tuple[Any, ...]) -> Any:
        # Not save_for_backward: a neighbouring slice of the same tensor may be overwritten
        # too, which its version check cannot tell from harm.
        ctx.residual = x_hat.detach()
        ctx.segments = arguments[_SEGMENTS]
        path = choose("masked_wmse", _PATHS, x_hat, arguments[0])
        loss, layer_sum, layer_count, ctx.slope = path(ctx.residual, *arguments, ctx.residual)
        # Whoever saved x_hat for a backward of its own is told that it has changed.
        torch.autograd.graph.increment_version(x_hat)
        ctx.mark_non_differentiable(layer_sum, layer_count)
        ctx.set_materialize_grads(False)
        return loss, layer_sum, layer_count

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if upstream is None:
            return None, None
        if ctx.residual is None:
            message = "masked_wmse: with overwrite_x_hat=True backward can run only once."
            raise RuntimeError(message)
        gradient, ctx.residual = ctx.residual, None
        gradient.mul_(_scale(ctx.slope, upstream, ctx.segments))
        return _once(gradient), None


def _once(gradient: Tensor) -> Tensor:
    """The gradient, which refuses to be differentiated where autograd asks for that."""
    if not torch.is_grad_enabled():
        return gradient
    refusing: Tensor = _NoSecondDerivative.apply(gradient.detach().requires_grad_())  # type: ignore[no-untyped-call]
    return refusing


class _NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        message = (
            "masked_wmse has no second derivative; differentiate the loss of "
            "immo_kernels.masked_wmse.reference twice instead."
        )
        raise RuntimeError(message)


_OP = register(
    "masked_wmse",
    "(Tensor x_hat, Tensor x, Tensor sample_uid, float[] weight, int[] thresholds, int seed, "
    "int epoch, str scope, float[]? normalizer, SymInt[] segments, SymInt first_feature, "
    "Tensor? measured, Tensor? shown, bool with_gradient) "
    "-> (Tensor loss, Tensor layer_sum, Tensor layer_count, Tensor slope, Tensor residual)",
    _run,
    _fake,
    _MaskedWmse,
)
