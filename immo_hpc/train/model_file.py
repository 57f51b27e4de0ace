"""The trained network on disk: ``model.safetensors`` and ``model.json``, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from immo_hpc._version import __version__
from immo_hpc.config import ModelConfig
from immo_hpc.data.cohort import Roles
from immo_hpc.errors import RunError
from immo_hpc.files import atomic_path, write_text
from immo_hpc.nn import ImmoModel
from immo_kernels import MASK_STREAM_VERSION

FORMAT = "immo-model"
FORMAT_VERSION = 1
WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "model.json"


@dataclass(frozen=True)
class SavedModel:
    """What `load_model` finds.

    Attributes:
        model: The network on the CPU, in eval mode.
        features: Feature names by layer, in the order of the weights.
        roles: Meaning of the sample table's columns in the training cohort.
        best_epoch: Epoch of the weights, counted from 0, where held-out samples chose one.
    """

    model: ImmoModel
    features: dict[str, tuple[str, ...]]
    roles: Roles
    best_epoch: int | None


def save_model(
    folder: Path,
    model: ImmoModel,
    features: Mapping[str, Sequence[str]],
    roles: Roles,
    *,
    best_epoch: int | None = None,
) -> None:
    """Write a network into an existing folder; the description last, as the sign of the end.

    Args:
        folder: Existing folder.
        model: The network.
        features: Feature names by layer, as many as the network has.
        roles: Meaning of the sample table's columns.
        best_epoch: Epoch of the weights, where held-out samples chose one.

    Raises:
        OutputError: If the disk is full or the folder cannot be written.
    """
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "mask_stream_version": MASK_STREAM_VERSION,
        "immo_hpc": __version__,
        "model": model.config.model_dump(mode="json"),
        "best_epoch": best_epoch,
        "roles": roles.to_dict(),
        "layers": {name: list(names) for name, names in features.items()},
    }
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        temporary.write_bytes(save(weights, metadata={"format": FORMAT}))
    write_text(folder / DESCRIPTION_NAME, json.dumps(description, indent=1) + "\n")


def load_model(folder: Path) -> SavedModel:
    """Read a network that `save_model` wrote; no code of the folder is executed.

    Raises:
        RunError: If a file is missing, damaged or of another format version.
    """
    path = folder / DESCRIPTION_NAME
    description = _description(path)
    try:
        features = {name: tuple(names) for name, names in description["layers"].items()}
        roles = description["roles"]
        roles = Roles(**{**roles, "covariates": tuple(roles["covariates"])})
        config = ModelConfig.model_validate(description["model"])
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        message = f"{path}: the description of the model is damaged ({error})."
        raise RunError(message) from error
    with torch.random.fork_rng(devices=[]):
        model = ImmoModel({name: len(names) for name, names in features.items()}, config)
    weights = folder / WEIGHTS_NAME
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, OSError, RuntimeError) as error:
        message = f"{weights}: expected the weights that {path.name} describes ({error})."
        raise RunError(message) from error
    return SavedModel(model.eval(), features, roles, description.get("best_epoch"))


def _description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = (
            f"{path}: not found, so {path.parent} holds no finished training. "
            "Finish it with: immo train SHARDS RUN --resume."
        )
        raise RunError(message) from error
    except (OSError, ValueError) as error:
        message = f"{path}: the description of the model cannot be read ({error})."
        raise RunError(message) from error
    found = description.get("format"), description.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        message = (
            f"{path}: expected {FORMAT} version {FORMAT_VERSION}, found {found[0]} version "
            f"{found[1]}. Use the version of immo-hpc that wrote it."
        )
        raise RunError(message)
    return dict(description)
