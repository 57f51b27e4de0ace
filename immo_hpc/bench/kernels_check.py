"""An op is timed only if it is right: against the float64 reference on data of the same kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from immo_hpc.bench.kernels_cases import (
    KEEP_PROBABILITY,
    NUM_LAYERS,
    OPS,
    Case,
    Problem,
    make_problem,
)
from immo_hpc.bench.kernels_contenders import immo
from immo_hpc.bench.kernels_layers import TrainingStep
from immo_hpc.bench.kernels_plain import WEIGHT
from immo_kernels.dynamic_mask import reference as mask_reference
from immo_kernels.linear_masked_wmse import reference as last_reference
from immo_kernels.masked_linear import reference as first_reference
from immo_kernels.masked_wmse import reference as loss_reference

# Largest ||found - truth|| / ||truth||. float32: rounding of sums. bfloat16: the gradient is
# rounded to 8 bits twice. float16: a mean over 10^5 values has gradients near the smallest half.
# Products of layers are sums of up to 4,099 terms more; half-precision operands are rounded.
TOLERANCES = {"float32": 2e-6, "bfloat16": 2.0**-8, "float16": 2.0**-6}
_LAYER_TOLERANCES = {"float32": 2e-5, "bfloat16": 2.0**-6, "float16": 2.0**-6}
# Beside float32 with whole tensors; batch normalisation of few rows amplifies roundings.
_STEP_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.1}
_SAMPLES, _FEATURES = 67, 4_099


def fault(case: Case, device: torch.device) -> str | None:
    """What is wrong with the op on small data of the case's kind; None if it is right.

    Mask and gradient must be exactly 0 where the reference is; else norms decide.
    """
    small = Case(case.op, _SAMPLES, _FEATURES, case.dtype, case.absent, case.missing)
    problem = make_problem(small, device, seed=1)
    if case.op == "training step":
        return _fault_of_step(small, problem)
    if case.op not in OPS:
        return _fault_of_layer(small, problem)
    threshold = [round(KEEP_PROBABILITY * 2**16)] * NUM_LAYERS
    x, uid = problem.x.cpu().double(), problem.sample_uid.cpu()
    measured = None if problem.measured is None else problem.measured.cpu()
    mask_truth = mask_reference.forward(
        x, uid, threshold, problem.stream.seed, problem.stream.epoch, small.segments, 0, measured
    )
    residual = torch.empty_like(x)
    loss_truth, _, _, slope = loss_reference.forward(
        problem.x_hat.detach().cpu().double(),
        x,
        uid,
        [WEIGHT] * NUM_LAYERS,
        threshold,
        problem.stream.seed,
        problem.stream.epoch,
        "observed",
        None,
        small.segments,
        0,
        measured,
        None,
        residual,
    )
    bounds = torch.tensor(small.segments).diff()
    gradient_truth = residual * slope.repeat_interleave(bounds)
    truths = {"mask": mask_truth, "loss": loss_truth, "gradient": gradient_truth}
    names = {"mask": ("mask",), "loss": ("loss", "gradient")}
    parts = names.get(case.op, ("mask", "loss", "gradient"))
    found = _flat(immo(small)(problem))
    for name, tensor in zip(parts, found, strict=True):
        error = _error(tensor.detach().cpu().double(), truths[name])
        tolerance = 0.0 if name == "mask" else TOLERANCES[case.dtype]
        if not error <= tolerance:
            return f"{name} is off by {error:.1e} of its norm (accepted: {tolerance:.1e})"
    return None


def _fault_of_layer(case: Case, problem: Problem) -> str | None:
    """As `fault`, of an op that holds a linear layer: its result and all its gradients."""
    layers, tolerance = problem.linear, _LAYER_TOLERANCES[case.dtype]
    x, uid = problem.x.cpu().double(), problem.sample_uid.cpu()
    threshold, place = round(KEEP_PROBABILITY * 2**16), (problem.stream.seed, problem.stream.epoch)
    leaves = layers.last if case.op == "last layer + loss" else layers.first
    exact = [part.detach().cpu().double().requires_grad_() for part in leaves]
    arguments: list[Any]
    if case.op == "last layer + loss":
        weighing = [WEIGHT] * NUM_LAYERS, [threshold] * NUM_LAYERS
        arguments = [*exact, x, uid, *weighing, *place]
        arguments += ["observed", None, case.segments, 0, None, None]
        truth, upstream = last_reference.forward(*arguments)[0], None
    else:
        arguments = [x, *exact, uid, threshold, *place, 0, None]
        truth, upstream = first_reference.forward(*arguments), layers.upstream.cpu().double()
    truths = (truth.detach(), *torch.autograd.grad(truth, exact, upstream))
    for number, (found, value) in enumerate(zip(_flat(immo(case)(problem)), truths, strict=True)):
        error = _norm(found.detach().cpu().double() - value, value)
        if not error <= tolerance:
            name = f"gradient {number}" if number else "result"
            return f"{name} is off by {error:.1e} of its norm (accepted: {tolerance:.1e})"
    return None


def _fault_of_step(case: Case, problem: Problem) -> str | None:
    """As `fault`, of a training step: its gradients beside those with whole tensors in float32."""
    whole, ours = (TrainingStep(case, in_blocks=in_blocks) for in_blocks in (False, True))
    for step, x in ((whole, problem.x.float()), (ours, problem.x)):
        torch.manual_seed(1)
        # The same draws of dropout for both.
        step.build(problem)
        torch.manual_seed(2)
        step(replace(problem, x=x))
    tolerance = _STEP_TOLERANCES[case.dtype]
    for name, value in whole.gradients().items():
        error = _norm(ours.gradients()[name] - value, value)
        if not error <= tolerance:
            return f"gradient of {name} is off by {error:.1e} (accepted: {tolerance:.1e})"
    return None


def _norm(difference: Tensor, truth: Tensor) -> float:
    return float(difference.norm() / truth.norm().clamp(min=1e-300))


def _error(found: Tensor, truth: Tensor) -> float:
    if found.shape != truth.shape or bool(((found != 0) & (truth == 0)).any()):
        return float("inf")
    return _norm(found - truth, truth)


def _flat(results: object) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    assert isinstance(results, tuple)
    return [tensor for part in results for tensor in _flat(part)]
