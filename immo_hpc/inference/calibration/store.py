"""The calibration on disk: one safetensors file beside the model, no pickle.

Tensors are named ``MODE/TASK/LAYER/lower`` and ``.../upper`` (level, feature), and those of the
distance ``distance/...``. The metadata hold, as JSON, format and version, the number of people
behind each spread, and a SHA-256 of each file that decides what the model says: a calibration is
true of one model only, and is refused beside another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from immo_hpc.errors import RunError
from immo_hpc.files import atomic_path
from immo_hpc.inference.calibration.calibrated import Calibration
from immo_hpc.inference.calibration.distance import Distance
from immo_hpc.inference.calibration.hidden import MODES, TASKS
from immo_hpc.inference.calibration.intervals import LEVELS, Spread
from immo_hpc.train.run import RunFolder

FORMAT = "immo-calibration"
FORMAT_VERSION = 1
_ENDS = ("lower", "upper")
_KEY = "calibration"


def save_calibration(run: RunFolder, calibration: Calibration) -> None:
    """Write the calibration of the model in ``run`` beside it; one that is there is replaced.

    Raises:
        OutputError: If the disk is full or the folder cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {}
    counts: dict[str, list[int]] = {}
    for at, spread in calibration.spreads.items():
        for end in _ENDS:
            tensors["/".join((*at, end))] = np.ascontiguousarray(getattr(spread, end))
        counts["/".join(at)] = [spread.num_subjects, spread.num_values]
    for name, values in calibration.distance.to_arrays().items():
        tensors[f"distance/{name}"] = np.ascontiguousarray(values)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "levels": list(LEVELS),
        "features": dict(calibration.num_features),
        "counts": counts,
        "model": _checksums(run),
    }
    # One entry: safetensors writes several in any order, and equal calibrations are equal bytes.
    metadata = {_KEY: json.dumps(content)}
    with atomic_path(run.calibration) as temporary:
        temporary.write_bytes(save(tensors, metadata=metadata))


def load_calibration(run: RunFolder) -> Calibration | None:
    """The calibration of the model in ``run``; None if there is none.

    Raises:
        RunError: If the file is damaged, of another format version, or of another model.
    """
    path = run.calibration
    if not path.exists():
        return None
    again = f"Make it anew with: immo calibrate {run.path} --force."
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        message = f"{path}: the calibration cannot be read ({error}). {again}"
        raise RunError(message) from error
    content = _content(metadata)
    found = content.get("format"), content.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        message = (
            f"{path}: expected {FORMAT} version {FORMAT_VERSION}, found {found[0]} version "
            f"{found[1]}. {again}"
        )
        raise RunError(message)
    try:
        if content["levels"] != list(LEVELS):
            message = f"expected the levels {LEVELS}, found {content['levels']}"
            raise ValueError(message)
        other = [name for name, sha in content["model"].items() if _checksums(run)[name] != sha]
        calibration = _built(content, tensors)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path}: the calibration is damaged ({error!r}). {again}"
        raise RunError(message) from error
    if other:
        message = (
            f"{path}: made for another model than the one beside it; {', '.join(other)} "
            f"changed since. {again}"
        )
        raise RunError(message)
    return calibration


def _content(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        content = json.loads(metadata.get(_KEY, "{}"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _built(content: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Calibration:
    spreads = {}
    for mode, task, (name, width) in product(MODES, TASKS, content["features"].items()):
        key = f"{mode}/{task}/{name}"
        if key not in content["counts"]:
            continue
        lower, upper = (tensors[f"{key}/{end}"] for end in _ENDS)
        if not lower.shape == upper.shape == (len(LEVELS), width):
            message = f"{key}: expected {(len(LEVELS), width)}, found {lower.shape}"
            raise ValueError(message)
        spreads[mode, task, name] = Spread(lower, upper, *content["counts"][key])
    prefix = "distance/"
    arrays = {
        name.removeprefix(prefix): values
        for name, values in tensors.items()
        if name.startswith(prefix)
    }
    return Calibration(
        spreads, Distance.from_arrays(arrays, list(content["features"])), content["features"]
    )


def _checksums(run: RunFolder) -> dict[str, str]:
    """SHA-256 of each file that decides what the model says, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
        for path in (run.weights, run.preparation, run.companion, run.companion_arrays)
    }
