"""Where and with what a run was made: interpreter, machine, packages, source."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import immo_hpc

_PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "numba",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "safetensors",
)


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Python, platform, processors, threads and device, as plain values."""
    on_gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if on_gpu else _processor(),
    }


def package_versions() -> dict[str, str]:
    """Versions of this package and of those that decide its numbers; absent ones left out."""
    versions = {"immo-hpc": immo_hpc.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def source_commit() -> str | None:
    """Commit of the git checkout this package is run from; None if it is installed."""
    git = Path(immo_hpc.__file__).resolve().parent.parent / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.exists():
            return loose.read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(" " + reference)), None)
    except (OSError, UnicodeDecodeError):
        return None


def _processor() -> str:
    """Name of the processor as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
