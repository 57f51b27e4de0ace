"""Each op three times: as the package has it, in ordinary tensor operations, and those compiled.

The plain form is what a competent user writes: masks by ``torch.rand_like``, missing values
selected away, autograd for the gradient. Absent blocks are NaN to it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from immo_hpc.bench.kernels_cases import KEEP_PROBABILITY, NUM_LAYERS, Case, Op, Problem
from immo_kernels import dynamic_mask, masked_wmse

# Runs the op on the data; results are returned so that they live until the call is over.
Contender = Callable[[Problem], object]
WEIGHT = 1 / NUM_LAYERS


def immo(case: Case) -> Contender:
    """The op of the package."""

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


def plain(case: Case) -> Contender:
    """The same in ordinary tensor operations."""
    return _chosen(
        case,
        lambda problem: plain_mask(problem.x),
        lambda problem: _with_gradient(plain_loss, problem),
    )


def compiled(case: Case) -> Contender:
    """The plain form through ``torch.compile``, mask and loss in one graph."""
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


def plain_mask(x: Tensor) -> Tensor:
    """Masked ``x``: kept and measured values, 0 elsewhere."""
    kept = torch.rand_like(x, dtype=torch.float32) < KEEP_PROBABILITY
    return torch.where(kept & ~x.isnan(), x, 0.0)


def plain_loss(x_hat: Tensor, x: Tensor, segments: list[int]) -> Tensor:
    """Equation 7 over observed values."""
    observed = ~x.isnan()
    squares = torch.where(observed, x_hat - x, 0.0).float().square()
    loss = squares.new_zeros(())
    for low, high in itertools.pairwise(segments):
        count = observed[:, low:high].sum().clamp(min=1)
        loss = loss + WEIGHT * squares[:, low:high].sum() / count
    return loss


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
