"""Which implementation of an op runs: one table an op, read at call time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FORCE_VARIABLE = "IMMO_KERNELS"
PATH_NAMES = ("triton", "cpu", "reference")


@dataclass(frozen=True)
class Path:
    """One implementation of an op.

    Attributes:
        load: Returns the function; what it needs is imported at the first call.
        device: Only device type it runs on; None = any.
        dtype: Only dtype of the data it takes; None = any floating dtype.
    """

    load: Callable[[], Callable[..., Any]]
    device: str | None = None
    dtype: torch.dtype | None = None

    def obstacle(self, *data: Tensor) -> str | None:
        """Why this path cannot run on ``data``; None if it can."""
        for tensor in data:
            if self.device is not None and tensor.device.type != self.device:
                return f"it takes {self.device} tensors, got one on {tensor.device}"
            if self.dtype is not None and tensor.dtype != self.dtype:
                return f"it takes {self.dtype} data, got {tensor.dtype}"
        return None


def choose(op: str, paths: Mapping[str, Path], *data: Tensor) -> Callable[..., Any]:
    """Implementation for this data: the first path that can run, or the forced one.

    Args:
        op: Name of the op, for messages.
        paths: Paths by name, the preferred first; the last takes anything.
        data: Tensors whose device and dtype decide.

    Returns:
        The function of the path.

    Raises:
        ValueError: If the environment variable ``IMMO_KERNELS`` names no path.
        RuntimeError: If it names a path that cannot run here.
    """
    forced = os.environ.get(FORCE_VARIABLE)
    if not forced:
        return next(path for path in paths.values() if path.obstacle(*data) is None).load()
    if forced not in PATH_NAMES:
        message = f"{FORCE_VARIABLE}='{forced}' is no path; the paths are {', '.join(PATH_NAMES)}."
        raise ValueError(message)
    if forced not in paths:
        reason: str | None = "this version has no such path for the op"
    else:
        reason = paths[forced].obstacle(*data)
    if reason is not None:
        message = (
            f"{op}: {FORCE_VARIABLE}='{forced}' is forced but cannot run: {reason}. "
            f"Unset {FORCE_VARIABLE} to let device and dtype decide."
        )
        raise RuntimeError(message)
    return paths[forced].load()
