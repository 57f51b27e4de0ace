"""The files of a trained model: those of a run folder, without what only resuming needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Roles
from immo_hpc.data.preparation import Preparation
from immo_hpc.errors import ConfigError, RunError
from immo_hpc.files import new_folder, write_text
from immo_hpc.nn import ImmoModel
from immo_hpc.train.device import resolve_device
from immo_hpc.train.metrics import EpochRecord, rewrite_metrics
from immo_hpc.train.model_file import load_model, save_model
from immo_hpc.train.run import RunFolder


def load_parts(folder: Path, device: str) -> tuple[ImmoModel, Preparation, ImmoConfig, Roles]:
    """Read network, preparation, configuration and roles; no code of the folder is executed.

    Args:
        folder: Run folder or folder of a saved model.
        device: Where the network shall be, as in `resolve_device`.

    Raises:
        RunError: If the folder is incomplete, damaged or of another format version.
        ConfigError: If the device is not there.
    """
    place = resolve_device(device)
    # Building a network draws weights before the saved ones replace them.
    with torch.random.fork_rng(devices=[]):
        saved = load_model(folder)
    run = RunFolder(folder)
    preparation = _read_preparation(run)
    found = {name: tuple(layer.features) for name, layer in preparation.layers.items()}
    if found != saved.features:
        message = (
            f"{run.preparation}: its layers and features are not those of the model beside "
            "it; the two files come from different trainings. Restore the right one."
        )
        raise RunError(message)
    return saved.model.to(place), preparation, run.read_config(), saved.roles


def save_parts(
    folder: Path,
    model: ImmoModel,
    preparation: Preparation,
    config: ImmoConfig,
    roles: Roles,
    records: Sequence[EpochRecord],
) -> None:
    """Write what `load_parts` reads to a new folder: safetensors, JSON and YAML, no pickle.

    Raises:
        OutputError: If the folder exists and is not empty, or cannot be written.
    """
    features: Mapping[str, tuple[str, ...]] = {
        name: tuple(layer.features) for name, layer in preparation.layers.items()
    }
    with new_folder(folder) as temporary:
        run = RunFolder(temporary)
        write_text(run.config, config.to_yaml())
        write_text(run.preparation, json.dumps(preparation.to_dict()) + "\n")
        if records:
            rewrite_metrics(run.metrics, records)
        save_model(temporary, model, features, roles)


def _read_preparation(run: RunFolder) -> Preparation:
    try:
        return Preparation.from_dict(run.read_preparation())
    except ConfigError as error:
        message = f"{run.preparation}: {error}"
        raise RunError(message) from error
