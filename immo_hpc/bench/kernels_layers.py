"""Contenders of the ops that hold a linear layer, and of a whole training step.

'immo' works in feature blocks; 'whole' is the same with whole tensors, the masked copy and the
reconstruction; 'plain' is what a competent user writes, in half precision under autocast.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from immo_hpc.bench.kernels_cases import KEEP_PROBABILITY, Case, Problem, torch_dtype
from immo_hpc.bench.kernels_plain import WEIGHT, plain_loss, plain_mask
from immo_hpc.bench.plain import PlainModel
from immo_hpc.config import ImmoConfig
from immo_hpc.data.batches import Batch, LayerBatch
from immo_hpc.nn import GradientPass, ImmoModel
from immo_hpc.train.objective import LayerTerm, Objective
from immo_hpc.train.optimiser import Optimiser
from immo_kernels import dynamic_mask, linear_masked_wmse, masked_linear, masked_wmse

# Values, gradients and the two moments of Adam, float32.
_BYTES_OF_A_PARAMETER = 16


def last_layer(problem: Problem, *, in_blocks: bool) -> tuple[Tensor, ...]:
    """Last layer and loss, with the gradients of hidden units and parameters."""
    layers = problem.linear
    scoring: dict[str, Any] = {
        "weight": WEIGHT,
        "keep_probability": KEEP_PROBABILITY,
        "stream": problem.stream,
        "segments": problem.segments,
    }
    x, uid = problem.x, problem.sample_uid
    if in_blocks:
        h, matrix, bias = layers.last
        loss = linear_masked_wmse(h, matrix, bias, x, uid, **scoring).loss
    else:
        x_hat = F.linear(*(part.to(x.dtype) for part in layers.last))
        loss = masked_wmse(x_hat, x, uid, **scoring, overwrite_x_hat=True).loss
    return loss, *torch.autograd.grad(loss, layers.last)


def first_layer(problem: Problem, *, in_blocks: bool) -> tuple[Tensor, ...]:
    """Mask and first layer, with the gradients of its parameters."""
    layers = problem.linear
    masking: dict[str, Any] = {
        "keep_probability": KEEP_PROBABILITY,
        "stream": problem.stream,
    }
    x, uid = problem.x, problem.sample_uid
    if in_blocks:
        matrix, bias = layers.first
        result = masked_linear(x, matrix, bias, uid, **masking)
    else:
        masked = dynamic_mask(x, uid, **masking)
        result = F.linear(masked, *(part.to(x.dtype) for part in layers.first))
    return result, *torch.autograd.grad(result, layers.first, layers.upstream.to(result.dtype))


def plain_last_layer(
    h: Tensor, matrix: Tensor, bias: Tensor, x: Tensor, segments: list[int]
) -> Tensor:
    """Loss of the last layer in ordinary tensor operations."""
    return plain_loss(F.linear(h.to(x.dtype), matrix.to(x.dtype), bias.to(x.dtype)), x, segments)


def plain_first_layer(x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """Mask and first layer in ordinary tensor operations."""
    return F.linear(plain_mask(x), matrix.to(x.dtype), bias.to(x.dtype))


class TrainingStep:
    """One step of a training: masks, network, loss, gradient, clipping and Adam.

    Args:
        case: Its shape; the network has its usual widths and a layer for each of the segments.
        in_blocks: Whether its layers are worked on in feature blocks.
    """

    def __init__(self, case: Case, *, in_blocks: bool) -> None:
        self._widths = [high - low for low, high in itertools.pairwise(case.segments)]
        self._in_blocks = in_blocks
        self._config = ImmoConfig()
        self._model: ImmoModel | None = None

    @property
    def held_bytes(self) -> int:
        """Memory of parameters, gradients and Adam's state."""
        return 0 if self._model is None else _held_bytes(self._model)

    def __call__(self, problem: Problem) -> float:
        """Do a step; the loss."""
        if self._model is None:
            self.build(problem)
        losses = self._objective.losses(self._pass, self._batch(problem))
        self._pass.backward({name: layer.gradient for name, layer in losses.items()})
        self._optimiser.step(float(self._optimiser.gradient_norm()))
        return float(sum(layer.loss for layer in losses.values()))

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the last step by parameter."""
        assert self._model is not None
        return {
            name: part.grad
            for name, part in self._model.named_parameters()
            if part.grad is not None
        }

    def build(self, problem: Problem) -> None:
        """Make the network, its weights drawn from one seed."""
        torch.manual_seed(0)
        features = {f"layer {place}": width for place, width in enumerate(self._widths)}
        self._model = ImmoModel(features, self._config.model).to(problem.x.device)
        self._optimiser = Optimiser(self._model, self._config.train)
        self._optimiser.start_epoch(0)
        starts = itertools.accumulate(self._widths, initial=0)
        terms = {
            name: LayerTerm(place, start, 1 / len(features), width)
            for place, ((name, width), start) in enumerate(
                zip(features.items(), starts, strict=False)
            )
        }
        self._objective = Objective(terms, self._config, 0)
        in_blocks = self._in_blocks
        self._pass = GradientPass(self._model, is_wide=lambda rows, width: in_blocks)

    def _batch(self, problem: Problem) -> Batch:
        everyone = torch.arange(len(problem.x), device=problem.x.device)
        bounds = itertools.pairwise(problem.segments)
        layers = {
            f"layer {place}": LayerBatch(problem.x[:, low:high], everyone)
            for place, (low, high) in enumerate(bounds)
        }
        return Batch(problem.sample_uid, layers)


class PlainStep:
    """The same step with torch's modules, autograd and Adam; autocast in half precision."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._model: PlainModel | None = None

    @property
    def held_bytes(self) -> int:
        """Memory of parameters, gradients and Adam's state."""
        return 0 if self._model is None else _held_bytes(self._model)

    def __call__(self, problem: Problem) -> float:
        """Do a step; the loss."""
        segments, x = problem.segments, problem.x
        if self._model is None:
            torch.manual_seed(0)
            widths = [high - low for low, high in itertools.pairwise(segments)]
            self._model = PlainModel(widths, ImmoConfig()).to(x.device)
            self._optimiser = torch.optim.Adam(self._model.parameters(), fused=True)
        dtype = torch_dtype(self._case.dtype)
        with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
            x_hat = self._model(plain_mask(x))
        loss = plain_loss(x_hat, x, segments)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack of types
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 5.0)
        self._optimiser.step()
        return float(loss.detach())


def layer_contender(case: Case, kind: str) -> Callable[[Problem], object]:
    """Contender 'immo', 'whole' or 'plain' of an op that holds a layer, or of a step."""
    if case.op == "training step":
        return PlainStep(case) if kind == "plain" else TrainingStep(case, in_blocks=kind == "immo")
    if kind == "plain":
        return _plain(case, plain_last_layer, plain_first_layer)
    op = last_layer if case.op == "last layer + loss" else first_layer
    return lambda problem: op(problem, in_blocks=kind == "immo")


def compiled_layer(case: Case) -> Callable[[Problem], object]:
    """The plain form of an op that holds a layer through ``torch.compile``."""
    torch._dynamo.reset()
    return _plain(
        case,
        torch.compile(plain_last_layer, dynamic=False),
        torch.compile(plain_first_layer, dynamic=False),
    )


def _plain(
    case: Case, last: Callable[..., Tensor], first: Callable[..., Tensor]
) -> Callable[[Problem], object]:
    def of_last(problem: Problem) -> tuple[Tensor, ...]:
        loss = last(*problem.linear.last, problem.x, problem.segments)
        return loss, *torch.autograd.grad(loss, problem.linear.last)

    def of_first(problem: Problem) -> tuple[Tensor, ...]:
        layers = problem.linear
        result = first(problem.x, *layers.first)
        return result, *torch.autograd.grad(result, layers.first, layers.upstream.to(result.dtype))

    return of_last if case.op == "last layer + loss" else of_first


def _held_bytes(model: torch.nn.Module) -> int:
    return _BYTES_OF_A_PARAMETER * sum(part.numel() for part in model.parameters())
