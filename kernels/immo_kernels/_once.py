"""Gradients that refuse to be differentiated again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def once(gradient: Tensor, op: str, instead: str) -> Tensor:
    """``gradient``, which raises RuntimeError where autograd asks for its derivative.

    Args:
        gradient: What a backward pass gives.
        op: Name of the op, for the message.
        instead: What can be differentiated twice.
    """
    if not torch.is_grad_enabled():
        return gradient
    message = f"{op} has no second derivative; differentiate {instead} twice instead."
    refusing: Tensor = _Refusing.apply(gradient.detach().requires_grad_(), message)  # type: ignore[no-untyped-call]
    return refusing


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, message: str) -> Tensor:
        ctx.message = message
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        raise RuntimeError(ctx.message)
