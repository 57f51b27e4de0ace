"""Where training computes, asked at call time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from immo_hpc.errors import ConfigError

# Weights times samples; IBDMDB with the default network is at 0.4e8.
_SMALL_STEP = 1e8


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn ``train.device`` into a device.

    Args:
        name: 'auto' (the first GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
        local_rank: Number of this process among those of its machine that train together:
            'auto' and 'cuda' give each a GPU of its own. Where a process sees one GPU only,
            the queue has dealt them out already.

    Raises:
        ConfigError: If the name is unknown or the GPU is not there.
    """
    available = torch.cuda.is_available()
    if name in ("auto", "cuda") and available and local_rank > 0:
        count = torch.cuda.device_count()
        name = f"cuda:{local_rank if count > 1 else 0}"
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        message = f"train.device: expected auto, cpu, cuda or cuda:N, found '{name}'."
        raise ConfigError(message)
    if device.type == "cuda" and (
        not available or (device.index or 0) >= torch.cuda.device_count()
    ):
        message = (
            f"train.device: '{name}' is not there: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs. Use train.device=auto or cpu, or check the "
            "driver, CUDA_VISIBLE_DEVICES and that torch is a CUDA build."
        )
        raise ConfigError(message)
    return device


def worthwhile_threads(model: nn.Module, batch_size: int) -> int:
    """CPU threads that pay for a training step: one for a small step, else torch's choice.

    A small step gains a tenth from a second thread at best, and loses a factor of ten where
    another process holds the second core (docs/notes/train-speed.md). The rule looks at the
    model alone, so a resumed run computes as the run before it.

    Args:
        model: The network.
        batch_size: Samples a step.
    """
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    return 1 if num_weights * batch_size < _SMALL_STEP else torch.get_num_threads()


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Use ``num_threads`` CPU threads for the duration; 0 leaves torch's choice."""
    before = torch.get_num_threads()
    if num_threads:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        if num_threads:
            torch.set_num_threads(before)


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for the duration and give the caller's generators back as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """States of torch's generators, uint8 tensors on the CPU by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Set torch's generators; a state of a device that is not used now is left out."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
