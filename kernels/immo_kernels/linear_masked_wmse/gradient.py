"""How the op is differentiated: the forward pass made the gradients, backward weighs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from immo_kernels._once import once
from immo_kernels.masked_wmse.gradient import scaled_in_place

OP = "linear_masked_wmse"
_TWICE = "the loss of immo_kernels.linear_masked_wmse.reference"


class EagerLinearWmse(torch.autograd.Function):
    """The op outside of graphs: only this object holds the gradients, so it gives them away."""

    @staticmethod
    def forward(
        ctx: Any, run: Callable[[], tuple[Tensor, ...]], *operands: Tensor
    ) -> tuple[Tensor, ...]:
        """Run the op and keep the gradients by ``operands``."""
        loss, layer_sum, layer_count, *gradients = run()
        # Not save_for_backward, which would keep them after they have been given away.
        ctx.held = gradients
        ctx.mark_non_differentiable(layer_sum, layer_count)
        ctx.set_materialize_grads(False)
        return loss, layer_sum, layer_count

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
        """Weigh the gradients, in their own memory unless they may be asked for again."""
        if upstream is None:
            return None, None, None, None
        if ctx.held is None:
            message = (
                f"{OP}: backward can run only once, as the gradients gave their memory away. "
                "Use retain_graph=True."
            )
            raise RuntimeError(message)
        held = ctx.held
        if torch._C._autograd._get_current_graph_task_keep_graph():
            gradients = [part * upstream.to(part.dtype) for part in held]
        else:
            ctx.held = None
            gradients = [weighed(part, upstream) for part in held]
        return None, *(once(part, OP, _TWICE) for part in gradients)


class GraphLinearWmse(torch.autograd.Function):
    """The op as a node of a graph, and when it is called by its name."""

    @staticmethod
    def forward(ctx: Any, op: Callable[..., Any], *arguments: Any) -> Any:
        """Run the op below autograd and save the gradients."""
        *operands, others = arguments
        results = op(*operands, *others)
        ctx.save_for_backward(*results[3:])
        ctx.with_gradients = others[-1]
        ctx.mark_non_differentiable(*results[1:])
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Any, ...]:
        """Weigh the gradients."""
        if upstream is None:
            return None, None, None, None, None
        if not ctx.with_gradients:
            message = f"{OP}: the op was called with with_gradients=False; it has no gradient."
            raise RuntimeError(message)
        gradients = [part * upstream.to(part.dtype) for part in ctx.saved_tensors]
        return None, *(once(part, OP, _TWICE) for part in gradients), None


def weighed(gradient: Tensor, upstream: Tensor) -> Tensor:
    """``gradient`` times ``upstream``, in place; not touched on a CPU if that is 1."""
    if upstream.device.type == "cpu" and float(upstream) == 1:
        return gradient
    if gradient.dim() == 2:
        one = upstream.new_ones(1)
        return scaled_in_place(gradient, one, upstream, [0, gradient.shape[1]])
    return gradient.mul_(upstream.to(gradient.dtype))
