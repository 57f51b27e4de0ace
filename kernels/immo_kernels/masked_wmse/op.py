"""The public function `masked_wmse`, its registration and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from immo_kernels._check import check_matrix
from immo_kernels._library import register
from immo_kernels._outputs import empty
from immo_kernels._paths import TRITON_DTYPES, Path, choose
from immo_kernels.masked_wmse import reference
from immo_kernels.masked_wmse.arguments import Scope, checked_scoring
from immo_kernels.masked_wmse.gradient import EagerWmse, GraphWmse, scaled_in_place
from immo_kernels.stream import MaskStream


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
    bounds, arguments = _checked(
        x_hat,
        x,
        sample_uid,
        weight,
        keep_probability,
        stream,
        scope,
        normalizer,
        segments,
        first_feature,
        measured,
        shown,
    )
    if overwrite_x_hat:
        _check_overwritable(x_hat)
    wants_gradient = x_hat.requires_grad and torch.is_grad_enabled()
    # A graph plans its memory itself: the permission to overwrite is not used there.
    if not wants_gradient or torch.compiler.is_compiling():
        return MaskedWmse(*_OP(x_hat, *arguments, wants_gradient)[:3])

    def run(x_hat: Tensor) -> tuple[Tensor, ...]:
        if overwrite_x_hat:
            path = choose("masked_wmse", PATHS, x_hat, x)
            return *path(x_hat, *arguments, x_hat), x_hat
        results: tuple[Tensor, ...] = _OP(x_hat, *arguments, True)
        return results

    return MaskedWmse(*EagerWmse.apply(run, x_hat, bounds, overwrite_x_hat))  # type: ignore[no-untyped-call]


def masked_wmse_and_gradient(
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
) -> tuple[MaskedWmse, Tensor]:
    """`masked_wmse` and its gradient by ``x_hat``, outside of autograd.

    For a loop that writes its own backward pass: no graph is made and none is walked.

    Args:
        x_hat: As for `masked_wmse`; whether it requires a gradient does not matter.
        x: As for `masked_wmse`, like all other arguments.
        sample_uid: As for `masked_wmse`.
        weight: As for `masked_wmse`.
        keep_probability: As for `masked_wmse`.
        stream: As for `masked_wmse`.
        scope: As for `masked_wmse`.
        normalizer: As for `masked_wmse`.
        segments: As for `masked_wmse`.
        first_feature: As for `masked_wmse`.
        measured: As for `masked_wmse`.
        shown: As for `masked_wmse`.
        overwrite_x_hat: Put the gradient into the memory of ``x_hat``.

    Returns:
        The loss, and its gradient, shape and dtype of ``x_hat``; 0 where nothing is scored.

    Raises:
        ValueError: As `masked_wmse`.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> x_hat = torch.tensor([[1.0, 4.0]])
        >>> _, gradient = masked_wmse_and_gradient(
        ...     x_hat, x, torch.tensor([42]), weight=1.0, keep_probability=1.0,
        ...     stream=MaskStream(seed=0, epoch=0))
        >>> gradient
        tensor([[0., 2.]])
    """
    bounds, arguments = _checked(
        x_hat,
        x,
        sample_uid,
        weight,
        keep_probability,
        stream,
        scope,
        normalizer,
        segments,
        first_feature,
        measured,
        shown,
    )
    x_hat = x_hat.detach()
    if overwrite_x_hat:
        _check_overwritable(x_hat)
        path = choose("masked_wmse", PATHS, x_hat, x)
        loss, layer_sum, layer_count, slope = path(x_hat, *arguments, x_hat)
        residual = x_hat
    else:
        loss, layer_sum, layer_count, slope, residual = _run(x_hat, *arguments, True)
    gradient = scaled_in_place(residual, slope, None, bounds)
    return MaskedWmse(loss, layer_sum, layer_count), gradient


def _checked(
    x_hat: Tensor,
    x: Tensor,
    sample_uid: Tensor,
    weight: float | Sequence[float],
    keep_probability: float | Sequence[float],
    stream: MaskStream,
    scope: Scope,
    normalizer: float | Sequence[float] | None,
    segments: Sequence[int] | None,
    first_feature: int,
    measured: Tensor | None,
    shown: Tensor | None,
) -> tuple[Sequence[int], tuple[Any, ...]]:
    """Bounds of the segments, and the arguments of a path between ``x_hat`` and the residual."""
    check_matrix("masked_wmse", "x_hat", x_hat)
    check_matrix("masked_wmse", "x", x)
    if x_hat.shape != x.shape or x_hat.device != x.device:
        message = (
            f"masked_wmse: x_hat and x must be of one shape on one device, got x_hat "
            f"{tuple(x_hat.shape)} on {x_hat.device}, x {tuple(x.shape)} on {x.device}."
        )
        raise ValueError(message)
    return checked_scoring(
        "masked_wmse",
        x,
        sample_uid,
        weight,
        keep_probability,
        stream,
        scope,
        normalizer,
        segments,
        first_feature,
        measured,
        shown,
    )


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


def _load_triton() -> Callable[..., Any]:
    from immo_kernels.masked_wmse import triton

    return triton.forward


PATHS = {
    "cpu": Path(_load_cpu, device="cpu", dtypes=(torch.float32,)),
    "triton": Path(_load_triton, device="cuda", dtypes=TRITON_DTYPES, package="triton"),
    "reference": Path(lambda: reference.forward),
}


def _run(x_hat: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *arguments_of_path, with_gradient = arguments
    # Rows of the shape (0, 0) stand for "not wanted": an op returns tensors only.
    shape = x_hat.shape if with_gradient else (0, 0)
    if x_hat.device.type == "cpu" and x_hat.dtype == torch.float32:
        residual = empty(shape)
    else:
        residual = torch.empty(shape, dtype=x_hat.dtype, device=x_hat.device)
    path = choose("masked_wmse", PATHS, x_hat, x)
    results = path(x_hat, x, *arguments_of_path, residual if with_gradient else None)
    return *results, residual


def _fake(x_hat: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    weight, with_gradient = arguments[1], arguments[-1]
    sums = torch.empty(len(weight), dtype=reference.loss_dtype(x_hat, x), device=x.device)
    count = torch.empty(len(weight), dtype=torch.int64, device=x.device)
    shape = x_hat.shape if with_gradient else (0, 0)
    residual = torch.empty(shape, dtype=x_hat.dtype, device=x.device)
    return sums.new_empty(()), sums, count, torch.empty_like(sums), residual


_OP = register(
    "masked_wmse",
    "(Tensor x_hat, Tensor x, Tensor sample_uid, float[] weight, int[] thresholds, int seed, "
    "int epoch, str scope, float[]? normalizer, SymInt[] segments, SymInt first_feature, "
    "Tensor? measured, Tensor? shown, bool with_gradient) "
    "-> (Tensor loss, Tensor layer_sum, Tensor layer_count, Tensor slope, Tensor residual)",
    _run,
    _fake,
    GraphWmse,
)
