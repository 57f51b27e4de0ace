"""An op is timed only if it is right: against the float64 reference on data of the same kind."""

from __future__ import annotations

import torch
from torch import Tensor

from immo_hpc.bench.kernels_cases import KEEP_PROBABILITY, NUM_LAYERS, Case, make_problem
from immo_hpc.bench.kernels_contenders import WEIGHT, immo
from immo_kernels.dynamic_mask import reference as mask_reference
from immo_kernels.masked_wmse import reference as loss_reference

# Largest ||found - truth|| / ||truth||. float32: rounding of sums. bfloat16: the gradient is
# rounded to 8 bits twice. float16: a mean over 10^5 values has gradients near the smallest half.
TOLERANCES = {"float32": 2e-6, "bfloat16": 2.0**-8, "float16": 2.0**-6}
_SAMPLES, _FEATURES = 67, 4_099


def fault(case: Case, device: torch.device) -> str | None:
    """What is wrong with the op on small data of the case's kind; None if it is right.

    Mask and gradient must be exactly 0 where the reference is; else norms decide.
    """
    small = Case(case.op, _SAMPLES, _FEATURES, case.dtype, case.absent, case.missing)
    problem = make_problem(small, device, seed=1)
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


def _error(found: Tensor, truth: Tensor) -> float:
    if found.shape != truth.shape or bool(((found != 0) & (truth == 0)).any()):
        return float("inf")
    return float((found - truth).norm() / truth.norm().clamp(min=1e-300))


def _flat(results: object) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    assert isinstance(results, tuple)
    return [tensor for part in results for tensor in _flat(part)]
