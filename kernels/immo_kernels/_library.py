"""Registration of the ops with torch.

Each op is declared with `torch.library.Library`, not with the decorator
``torch.library.custom_op``: the measured cost of a call is a fifth (README.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "immo_kernels"
_LIBRARY = torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]


def register(
    name: str,
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    function: type[torch.autograd.Function] | None = None,
    num_inputs: int = 1,
) -> Callable[..., Any]:
    """Declare an op and return the way to call it.

    Args:
        name: Name of the op within the namespace.
        schema: Arguments and returns, as torch writes them.
        implementation: The op on real tensors, for every device.
        fake: Shapes and dtypes of the op's results, without data.
        function: Differentiates the op in its first arguments; ``forward`` takes the op below
            autograd, these arguments, and the tuple of the others. None: no gradient.
        num_inputs: Number of first arguments that may be differentiated, all tensors.

    Returns:
        Takes the op's arguments and gives its results.
    """
    _LIBRARY.define(name + schema)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_LIBRARY)
    op: Callable[..., Any] = getattr(getattr(torch.ops, NAMESPACE), name).default

    def differentiated(run: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        def below_autograd(*arguments: Any) -> Any:
            with torch._C._AutoDispatchBelowAutograd():
                return run(*arguments)

        if function is not None and torch.is_grad_enabled():
            inputs = arguments[:num_inputs]
            if any(x.requires_grad for x in inputs):
                return function.apply(below_autograd, *inputs, arguments[num_inputs:])  # type: ignore[no-untyped-call]
        return below_autograd(*arguments)

    def by_name(*arguments: Any) -> Any:
        return differentiated(op, arguments)

    def call(*arguments: Any) -> Any:
        # In a graph, and for stand-ins of tensors, the op is one node. Plain tensors need no
        # dispatcher, whose way through Python costs as much as a small batch (README.md).
        if type(arguments[0]) is not Tensor or torch.compiler.is_compiling():
            return op(*arguments)
        return differentiated(implementation, arguments)

    if function is not None:
        _LIBRARY.impl(name, by_name, "Autograd")  # type: ignore[no-untyped-call]
    return call
