"""A companion as two files: arrays as safetensors, the rest as JSON. Nothing is a pickle.

The arrays are prepared values of training samples. Names of samples and subjects are not
kept; subjects are numbered, and days count from the first sample of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from immo_hpc.companion.companion import Companion
from immo_hpc.companion.layers import LayerSetting
from immo_hpc.companion.reference import numbered
from immo_hpc.companion.rules import Rules
from immo_hpc.companion.values import ValueSetting
from immo_hpc.companion.weights import Weight
from immo_hpc.data.cohort import days_of
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.visits import people
from immo_hpc.errors import RunError
from immo_hpc.files import atomic_path, write_text

FORMAT = "immo-companion"
FORMAT_VERSION = 2
ARRAYS_NAME = "companion.safetensors"
DESCRIPTION_NAME = "companion.json"

_SIDES = ("train", "validation")


def save_companion(folder: Path, companion: Companion) -> None:
    """Write a companion into an existing folder; the description last, as the sign of the end.

    Raises:
        OutputError: If the disk is full or the folder cannot be written.
    """
    reference = companion.reference
    subject = np.unique(people(reference.samples, reference.roles), return_inverse=True)[1].ravel()
    assert reference.split is not None
    arrays: dict[str, NDArray[Any]] = {
        "subject": subject.astype(np.int64),
        "side": np.array([_SIDES.index(str(side)) for side in reference.split], dtype=np.uint8),
    }
    if reference.roles.time is not None:
        arrays["days"] = days_of(reference.samples, reference.roles)
    for name, layer in reference.layers.items():
        arrays[f"values.{name}"] = layer.values.astype(np.float16)
        arrays[f"rows.{name}"] = layer.rows
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "layers": {name: len(layer.features) for name, layer in reference.layers.items()},
        "rules": {mode: asdict(rules) for mode, rules in companion.rules.items()},
    }
    with atomic_path(folder / ARRAYS_NAME) as temporary:
        temporary.write_bytes(save(arrays, metadata={"format": FORMAT}))
    write_text(folder / DESCRIPTION_NAME, json.dumps(description, indent=1) + "\n")


def load_companion(folder: Path, features: Mapping[str, Sequence[str]]) -> Companion | None:
    """Read what `save_companion` wrote; None if the folder has no companion.

    Args:
        folder: Run folder or folder of a saved model.
        features: Features of the model beside it, by layer.

    Raises:
        RunError: If a file is damaged, of another format version or of another model.
    """
    path = folder / DESCRIPTION_NAME
    if not path.exists():
        return None
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found = description.get("format"), description.get("format_version")
        if found != (FORMAT, FORMAT_VERSION):
            message = (
                f"{path}: expected {FORMAT} version {FORMAT_VERSION}, found {found[0]} version "
                f"{found[1]}. Use the version of immo-hpc that wrote it, or remove {path.name} and "
                f"{ARRAYS_NAME} and repeat the training with --resume, which fits them anew."
            )
            raise RunError(message)
        if description["layers"] != {name: len(names) for name, names in features.items()}:
            message = (
                f"{path}: its layers and features are not those of the model beside it; the "
                "files come from different trainings. Restore the right one."
            )
            raise RunError(message)
        rules = {mode: _rules(found) for mode, found in description["rules"].items()}
        arrays = load_file(folder / ARRAYS_NAME)
        return Companion(_reference(arrays, features), rules)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        if isinstance(error, RunError):
            raise
        message = (
            f"{path}: the companion of the model cannot be read ({error}). Restore {path.name} "
            f"and {ARRAYS_NAME}, or remove both to use the network alone."
        )
        raise RunError(message) from error


def _rules(found: Mapping[str, Any]) -> Rules:
    return Rules(
        {
            name: (LayerSetting(**setting), Weight(**weight))
            for name, (setting, weight) in found["layers"].items()
        },
        {
            name: (ValueSetting(**setting), Weight(**weight))
            for name, (setting, weight) in found["values"].items()
        },
        {
            name: (LayerSetting(**setting), Weight(**weight))
            # Not there in a companion that was fitted before there were such rules.
            for name, (setting, weight) in found.get("revisited", {}).items()
        },
    )


def _reference(
    arrays: Mapping[str, NDArray[Any]], features: Mapping[str, Sequence[str]]
) -> PreparedCohort:
    # Only one of a cohort with times has days.
    subject, days = arrays["subject"], arrays.get("days")
    if days is not None and days.shape != subject.shape:
        message = f"days {days.shape} for {len(subject)} samples"
        raise ValueError(message)
    layers = {}
    for name, names in features.items():
        values, rows = arrays[f"values.{name}"].astype(np.float32), arrays[f"rows.{name}"]
        if values.shape != (len(rows), len(names)) or (len(rows) and rows.max() >= len(subject)):
            message = f"layer '{name}' has values {values.shape} for {len(rows)} rows"
            raise ValueError(message)
        ones = np.ones(len(rows), dtype=np.float32)
        layers[name] = PreparedLayer(name, tuple(names), values, rows, ones)
    split = np.array(_SIDES)[arrays["side"]]
    samples, roles = numbered(subject, days)
    return PreparedCohort(samples, layers, roles, split)
