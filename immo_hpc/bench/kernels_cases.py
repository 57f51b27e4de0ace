"""The cases that the kernels are timed on: shapes, dtypes, and what is absent or missing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from immo_kernels import MaskStream

Op = Literal[
    "mask", "loss", "mask + loss", "mask + first layer", "last layer + loss", "training step"
]
# Ops on values alone, and those that hold a linear layer.
OPS: tuple[Op, ...] = ("mask", "loss", "mask + loss")
LAYER_OPS: tuple[Op, ...] = ("mask + first layer", "last layer + loss", "training step")
NUM_LAYERS = 4
HIDDEN = 256
KEEP_PROBABILITY = 0.75

_SHAPES = ((64, 10_000), (1_024, 20_000))
_GPU_SHAPES = ((4_096, 20_000), (65_536, 20_000), (4_096, 1_000_000))
_LAYER_SHAPES = ((1_024, 20_000), (256, 200_000))
_GPU_LAYER_SHAPES = ((4_096, 20_000), (4_096, 1_000_000))
_ABSENT = (0.0, 0.3, 0.6, 0.9)
_MISSING = (0.0, 0.3)
# Ordinary tensor operations hold about this many tensors of the size of the data at once.
_PLAIN_TENSORS = 8
# Data, parameters and their gradients: what ops in feature blocks need at least.
_BLOCKED_TENSORS = 3


@dataclass(frozen=True)
class Case:
    """One op on one kind of data.

    Attributes:
        op: 'mask': the mask of values; 'loss': the loss over observed values and its gradient;
            'mask + loss': the mask, then the loss of a given reconstruction with its gradient;
            'mask + first layer': the mask and a linear map to `HIDDEN` units, with its
            gradients; 'last layer + loss': a linear map from as many units and the loss, with
            their gradients; 'training step': all of a step of a training, Adam too.
        samples: Samples in the batch.
        features: Features in all layers together; `NUM_LAYERS` layers, as equal as can be.
        dtype: Dtype of data and reconstruction, as in ``torch.<dtype>``.
        absent: Share of (sample, layer) blocks that were not measured, 0 to 1.
        missing: Share of values missing within measured blocks, 0 to 1.
    """

    op: Op
    samples: int
    features: int
    dtype: str = "float32"
    absent: float = 0.0
    missing: float = 0.3

    @property
    def segments(self) -> list[int]:
        """Bounds of the layers in the columns."""
        return [self.features * place // NUM_LAYERS for place in range(NUM_LAYERS + 1)]

    @property
    def tensor_bytes(self) -> int:
        """Size of one ``(sample, feature)`` tensor."""
        return self.samples * self.features * torch_dtype(self.dtype).itemsize


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of a name such as 'bfloat16'."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


@dataclass(frozen=True)
class Problem:
    """Data of a case.

    Attributes:
        x: Measurements, ``(sample, feature)``, NaN = missing or absent.
        x_hat: Reconstruction, same shape and dtype, a leaf that requires a gradient.
        sample_uid: ``(sample,)``, int64.
        measured: False for absent blocks, ``(sample, layer)``, bool; None if none is absent.
        segments: Bounds of the layers.
        stream: Seed and epoch of the masks.
        layers: First and last layer of a network, for ops that have one.
    """

    x: Tensor
    x_hat: Tensor
    sample_uid: Tensor
    measured: Tensor | None
    segments: list[int]
    stream: MaskStream
    layers: LinearLayers | None = None

    @property
    def linear(self) -> LinearLayers:
        """The linear layers, of an op that has them."""
        assert self.layers is not None
        return self.layers


@dataclass(frozen=True)
class LinearLayers:
    """First and last layer of a network, float32, leaves that require gradients.

    Attributes:
        first: Matrix ``(hidden, feature)`` and bias ``(hidden,)`` of the first layer.
        last: Hidden units ``(sample, hidden)``, matrix ``(feature, hidden)`` and bias
            ``(feature,)`` of the last layer.
        upstream: Gradient by the result of the first layer, ``(sample, hidden)``.
    """

    first: tuple[Tensor, ...]
    last: tuple[Tensor, ...]
    upstream: Tensor


def cases(device: torch.device, free_bytes: int, *, quick: bool = False) -> Iterator[Case]:
    """Cases that fit the device.

    Args:
        device: CPU or CUDA device.
        free_bytes: Memory that is free there; cases whose plain form needs more are left out.
        quick: Only the cases that the claims are about, on a GPU without the largest shapes.
    """
    on_gpu = device.type == "cuda"
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16") if on_gpu else ("float32",)
    shapes = _SHAPES + (_GPU_SHAPES if on_gpu else ())
    shares = list(itertools.product(_ABSENT, _MISSING))
    if quick:
        dtypes, shapes = dtypes[:2], shapes[:3]
        shares = [(0.0, 0.3), (0.6, 0.3)] if on_gpu else [(0.0, 0.3)]
    # Shares innermost: what is compiled depends on the rest alone.
    for (samples, features), dtype, op, (absent, missing) in itertools.product(
        shapes, dtypes, OPS, shares
    ):
        case = Case(op, samples, features, dtype, absent, missing)
        if _PLAIN_TENSORS * case.tensor_bytes <= free_bytes:
            yield case
    yield from _layer_cases(on_gpu, free_bytes, quick=quick)


def _layer_cases(on_gpu: bool, free_bytes: int, *, quick: bool) -> Iterator[Case]:
    shapes = _GPU_LAYER_SHAPES if on_gpu else _LAYER_SHAPES
    dtypes = ("float32", "bfloat16") if on_gpu else ("float32",)
    for (samples, features), dtype, op in itertools.product(shapes, dtypes, LAYER_OPS):
        case = Case(op, samples, features, dtype)
        # A claim is about the step of the largest shape; on a CPU that takes minutes.
        is_claimed = op == "training step" and dtype == "bfloat16"
        is_small = (samples, features) == shapes[0]
        if _BLOCKED_TENSORS * case.tensor_bytes <= free_bytes and (
            not quick or is_small or (on_gpu and is_claimed)
        ):
            yield case


def make_problem(case: Case, device: torch.device, seed: int = 0) -> Problem:
    """Random data of a case."""
    generator = torch.Generator(device).manual_seed(seed)
    dtype = torch_dtype(case.dtype)
    shape = (case.samples, case.features)
    x = torch.randn(shape, generator=generator, device=device, dtype=dtype)
    if case.missing > 0:
        for start in range(0, case.samples, 256):
            rows = x[start : start + 256]
            draw = torch.rand(rows.shape, generator=generator, device=device)
            rows[draw < case.missing] = torch.nan
    measured = None
    if case.absent > 0:
        draw = torch.rand(case.samples, NUM_LAYERS, generator=generator, device=device)
        measured = draw >= case.absent
        for layer, (low, high) in enumerate(itertools.pairwise(case.segments)):
            x[~measured[:, layer], low:high] = torch.nan
    layers = None
    if case.op in OPS:
        x_hat = torch.randn(shape, generator=generator, device=device, dtype=dtype)
    else:
        x_hat = x.new_empty(0)
        if case.op != "training step":
            layers = _linear_layers(case, device, generator)
    uid = torch.randint(0, 2**62, (case.samples,), generator=generator, device=device)
    stream = MaskStream(seed, 1)
    return Problem(x, x_hat.requires_grad_(), uid, measured, case.segments, stream, layers)


def _linear_layers(case: Case, device: torch.device, generator: torch.Generator) -> LinearLayers:
    def leaf(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator, device=device).div_(HIDDEN**0.5)
        return values.requires_grad_()

    first: tuple[Tensor, ...] = ()
    last: tuple[Tensor, ...] = ()
    if case.op == "mask + first layer":
        first = leaf(HIDDEN, case.features), leaf(HIDDEN)
    else:
        last = leaf(case.samples, HIDDEN), leaf(case.features, HIDDEN), leaf(case.features)
    return LinearLayers(first, last, leaf(case.samples, HIDDEN).detach())


def moved_bytes(case: Case, problem: Problem) -> int:
    """Bytes that the op must move: measured blocks read, results written whole.

    The loss divides by the number of scored values, which is known only when all of ``x`` has
    been seen: data larger than the caches are read twice before a gradient can be written.
    """
    widths = [high - low for low, high in itertools.pairwise(problem.segments)]
    if problem.measured is None:
        present = case.samples * case.features
    else:
        present = int((problem.measured.cpu() * torch.tensor(widths)).sum())
    everything = case.samples * case.features
    if case.op not in OPS:
        # Data twice: to count or to mask them, and with the products; parameters are read, and
        # their gradients written.
        steps = 2 if case.op == "training step" else 1
        parameters = 4 * HIDDEN * case.features
        adam = 7 * 2 * parameters if case.op == "training step" else 0
        return 2 * steps * present * problem.x.element_size() + 2 * steps * parameters + adam
    # mask: x in, masked out; loss: x twice and x_hat in, gradient out.
    read, written = {"mask": (1, 1), "loss": (3, 1), "mask + loss": (4, 2)}[case.op]
    return (read * present + written * everything) * problem.x.element_size()
