"""How the loss is differentiated: the forward pass left residuals, backward scales them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from immo_kernels._layout import by_feature
from immo_kernels._once import once
from immo_kernels._paths import FORCE_VARIABLE, TRITON_DTYPES, Path

_TWICE = "the loss of immo_kernels.masked_wmse.reference"
_SEGMENTS = 8  # place among the op's arguments after x_hat


class EagerWmse(torch.autograd.Function):
    """The loss outside of graphs: only this object holds the residual, so it may reuse it."""

    @staticmethod
    def forward(
        ctx: Any,
        run: Callable[[Tensor], tuple[Tensor, ...]],
        x_hat: Tensor,
        segments: Sequence[int],
        overwrites: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the op and keep slope and residual; ``overwrites``: the residual is in ``x_hat``."""
        loss, layer_sum, layer_count, slope, residual = run(x_hat.detach())
        if overwrites:
            # Whoever saved x_hat for a backward of its own is told that it has changed.
            torch.autograd.graph.increment_version(x_hat)
        # Not save_for_backward: a neighbouring slice of the same tensor may be overwritten
        # too, which its version check cannot tell from harm.
        ctx.held = (slope, residual)
        ctx.segments, ctx.overwrites = segments, overwrites
        ctx.mark_non_differentiable(layer_sum, layer_count)
        ctx.set_materialize_grads(False)
        return loss, layer_sum, layer_count

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
        """Scale the residual, in its own memory unless it may be asked for again."""
        if upstream is None:
            return None, None, None, None
        if ctx.held is None:
            message = (
                "masked_wmse: backward can run only once, as the gradient took the memory of "
                "what it needs. Use retain_graph=True, and not overwrite_x_hat=True."
            )
            raise RuntimeError(message)
        slope, residual = ctx.held
        keeps = torch._C._autograd._get_current_graph_task_keep_graph()
        if keeps and not ctx.overwrites:
            scale = _scale(slope, upstream, ctx.segments)
            gradient = (residual * scale).to(residual.dtype)
        else:
            ctx.held = None
            gradient = scaled_in_place(residual, slope, upstream, ctx.segments)
        return None, once(gradient, "masked_wmse", _TWICE), None, None


class GraphWmse(torch.autograd.Function):
    """The loss as a node of a graph, and when the op is called by its name."""

    @staticmethod
    def forward(ctx: Any, op: Callable[..., Any], x_hat: Tensor, others: tuple[Any, ...]) -> Any:
        """Run the op below autograd and save slope and residual."""
        results = op(x_hat, *others)
        ctx.save_for_backward(results[3], results[4])
        ctx.segments, ctx.with_gradient = others[_SEGMENTS], others[-1]
        ctx.mark_non_differentiable(*results[1:])
        # Otherwise backward is given zeros for every other result, the residual too.
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
        """Scale the residual."""
        if upstream is None:
            return None, None, None
        if not ctx.with_gradient:
            message = "masked_wmse: the op was called with with_gradient=False; it has no gradient."
            raise RuntimeError(message)
        slope, residual = ctx.saved_tensors
        gradient = (residual * _scale(slope, upstream, ctx.segments)).to(residual.dtype)
        return None, once(gradient, "masked_wmse", _TWICE), None


def _load_triton() -> Callable[..., Any]:
    from immo_kernels.masked_wmse import triton

    return triton.backward


_TRITON = Path(_load_triton, device="cuda", dtypes=TRITON_DTYPES, package="triton")


def scaled_in_place(
    residual: Tensor, slope: Tensor, upstream: Tensor | None, segments: Sequence[int]
) -> Tensor:
    """The gradient in the memory of ``residual``; ``upstream`` None: that of the loss itself."""
    if upstream is None:
        upstream = slope.new_ones(())
    forced = os.environ.get(FORCE_VARIABLE) or None
    on_cpu = residual.device.type == "cpu" and forced in (None, "cpu")
    is_single = residual.dtype == slope.dtype == upstream.dtype == torch.float32
    has_rows = residual.shape[1] <= 1 or residual.stride(1) == 1
    by_triton = forced in (None, "triton") and slope.dtype == upstream.dtype == torch.float32
    if by_triton and has_rows and _TRITON.obstacle(residual, is_forced=forced is not None) is None:
        scaled: Tensor = _TRITON.load()(residual, slope, upstream, segments)
        return scaled
    if not (on_cpu and is_single and has_rows):
        return residual.mul_(_scale(slope, upstream, segments))
    # The same numbers without torch's threads, which a small batch does not repay (README.md).
    from immo_kernels.masked_wmse import cpu

    cpu.scale(residual, slope * upstream, segments)
    return residual


def _scale(slope: Tensor, upstream: Tensor, segments: Sequence[int]) -> Tensor:
    """What a residual is multiplied by to give the gradient, ``(feature,)`` or ``(1,)``."""
    per_layer = slope * upstream
    return per_layer if len(segments) == 2 else by_feature(per_layer, segments)
