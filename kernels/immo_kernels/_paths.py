"""Which implementation of an op runs: one table an op, read at call time."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FORCE_VARIABLE = "IMMO_KERNELS"
PATH_NAMES = ("triton", "cpu", "reference")
INTERPRET_VARIABLE = "TRITON_INTERPRET"
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Path:
    """One implementation of an op.

    Attributes:
        load: Returns the function; what it needs is imported at the first call.
        device: Only device type it runs on; None = any.
        dtypes: Dtypes of the data it takes; none = any.
        package: What it is compiled with, if that may be missing; None = needs nothing.
    """

    load: Callable[[], Callable[..., Any]]
    device: str | None = None
    dtypes: tuple[torch.dtype, ...] = ()
    package: str | None = None

    def obstacle(self, *data: Tensor, is_forced: bool = False) -> str | None:
        """Why this path cannot run on ``data``; None if it can.

        Triton's interpreter, which takes tensors on the CPU, is used only when forced.
        """
        for tensor in data:
            if self.device not in (None, tensor.device.type) and not (
                is_forced and self.package == "triton" and _is_interpreted()
            ):
                hint = (
                    f"; {INTERPRET_VARIABLE}=1, set before Python starts, runs it on the CPU"
                    if self.package == "triton" and tensor.device.type == "cpu"
                    else ""
                )
                return f"it takes {self.device} tensors, got one on {tensor.device}{hint}"
            if self.dtypes and tensor.dtype not in self.dtypes:
                names = ", ".join(str(dtype) for dtype in self.dtypes)
                return f"it takes {names} data, got {tensor.dtype}"
        if self.package is not None and not _is_installed(self.package):
            return f"the package {self.package} is not installed"
        return None


@functools.cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _is_interpreted() -> bool:
    return os.environ.get(INTERPRET_VARIABLE) == "1"


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
        reason = paths[forced].obstacle(*data, is_forced=True)
    if reason is not None:
        message = (
            f"{op}: {FORCE_VARIABLE}='{forced}' is forced but cannot run: {reason}. "
            f"Unset {FORCE_VARIABLE} to let device and dtype decide."
        )
        raise RuntimeError(message)
    return paths[forced].load()
