"""Each op three times: as the package has it, in ordinary tensor operations, and those compiled.

Of the ops that hold a linear layer, and of a training step, also with whole tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from immo_hpc.bench.kernels_cases import KEEP_PROBABILITY, OPS, Case, Op, Problem
from immo_hpc.bench.kernels_layers import compiled_layer, layer_contender
from immo_hpc.bench.kernels_plain import WEIGHT, plain_loss, plain_mask
from immo_kernels import dynamic_mask, masked_wmse

# Runs the op on the data; results are returned so that they live until the call is over.
Contender = Callable[[Problem], object]


def immo(case: Case) -> Contender:
    """The op of the package."""
    if case.op not in OPS:
        return layer_contender(case, "immo")

    def mask(problem: Problem) -> Tensor:
        return dynamic_mask(
            problem.x,
            problem.sample_uid,
            keep_probability=KEEP_PROBABILITY,
            stream=problem.stream,
            segments=problem.segments,
            shown=problem.measured,
        )

    def loss(problem: Problem) -> tuple[Tensor, ...]:
        result = masked_wmse(
            problem.x_hat,
            problem.x,
            problem.sample_uid,
            weight=WEIGHT,
            keep_probability=KEEP_PROBABILITY,
            stream=problem.stream,
            scope="observed",
            segments=problem.segments,
            measured=problem.measured,
        )
        return result.loss, *torch.autograd.grad(result.loss, problem.x_hat)

    return _chosen(case, mask, loss)


def whole(case: Case) -> Contender:
    """An op that works in feature blocks, with whole tensors instead."""
    return layer_contender(case, "whole")


def plain(case: Case) -> Contender:
    """The same in ordinary tensor operations."""
    if case.op not in OPS:
        return layer_contender(case, "plain")
    return _chosen(
        case,
        lambda problem: plain_mask(problem.x),
        lambda problem: _with_gradient(plain_loss, problem),
    )


def compiled(case: Case) -> Contender:
    """The plain form through ``torch.compile``, mask and loss in one graph."""
    if case.op not in OPS:
        return compiled_layer(case)
    return _compiled(case.op, case.samples, case.features, case.dtype)


@functools.lru_cache(maxsize=1)
def _compiled(op: Op, samples: int, features: int, dtype: str) -> Contender:
    # One shape and dtype at a time: torch gives up compiling a function that meets many.
    torch._dynamo.reset()
    if op == "mask":
        mask = torch.compile(plain_mask, dynamic=False)
        return lambda problem: mask(problem.x)
    if op == "loss":
        loss = torch.compile(plain_loss, dynamic=False)
        return lambda problem: _with_gradient(loss, problem)

    @torch.compile(dynamic=False)
    def both(x_hat: Tensor, x: Tensor, segments: list[int]) -> tuple[Tensor, Tensor]:
        return plain_mask(x), plain_loss(x_hat, x, segments)

    def run(problem: Problem) -> tuple[Tensor, ...]:
        masked, loss = both(problem.x_hat, problem.x, problem.segments)
        return masked, loss, *torch.autograd.grad(loss, problem.x_hat)

    return run


def _with_gradient(
    loss_of: Callable[[Tensor, Tensor, list[int]], Tensor], problem: Problem
) -> tuple[Tensor, ...]:
    loss = loss_of(problem.x_hat, problem.x, problem.segments)
    return loss, *torch.autograd.grad(loss, problem.x_hat)


def _chosen(case: Case, mask: Contender, loss: Contender) -> Contender:
    if case.op == "mask":
        return mask
    if case.op == "loss":
        return loss
    return lambda problem: (mask(problem), loss(problem))
