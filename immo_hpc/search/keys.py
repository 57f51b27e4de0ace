"""What a key of the configuration holds, and which keys a search may not touch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from immo_hpc.config import ImmoConfig, Schedule, config_keys
from immo_hpc.errors import ConfigError

BY_LAYER = "mask.values_by_layer."
WEIGHTS = "loss.weights"
NOT_THE_RESULT = {
    "train.device": "it decides where, not what, is computed",
    "train.num_threads": "it decides where, not what, is computed",
    "train.checkpoint_epochs": "it decides nothing about the result",
    "train.checkpoint_min": "it decides nothing about the result",
}
# What decides who is compared with whom, or nothing at all.
_BARRED = {
    "seed": "every trial has the seed of the study; --seeds trains the best ones on others",
    "split": "the shards are split already",
    "preparation": "the shards are prepared already",
    **NOT_THE_RESULT,
}


def require_key(key: str, layers: Sequence[str], where: str) -> None:
    """Refuse a key that is unknown or may not be searched.

    Raises:
        ConfigError: With the reason, or the nearest keys there are.
    """
    for barred, why in _BARRED.items():
        if key == barred or key.startswith(barred + "."):
            message = f"{where}: '{key}' cannot be searched: {why}."
            raise ConfigError(message)
    known = searchable_keys(layers)
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        message = f"{where}: unknown key '{key}'{hint}; the keys are {', '.join(known)}."
        raise ConfigError(message)


def searchable_keys(layers: Sequence[str]) -> list[str]:
    """All keys that may be searched on a cohort of these layers."""
    dicts = {WEIGHTS, BY_LAYER.rstrip(".")}
    plain = [
        key
        for key in config_keys()
        if key not in dicts and not any(key == b or key.startswith(b + ".") for b in _BARRED)
    ]
    fields = Schedule.model_fields
    return [*plain, WEIGHTS, *(f"{BY_LAYER}{name}.{field}" for name in layers for field in fields)]


def is_whole(key: str) -> bool:
    """True if ``key`` holds a whole number."""
    model: type[BaseModel] = ImmoConfig
    if key.startswith(BY_LAYER):
        model, key = Schedule, key.rpartition(".")[2]
    *sections, last = key.split(".")
    for section in sections:
        annotation = model.model_fields[section].annotation
        assert isinstance(annotation, type)
        model = annotation
    return last in model.model_fields and model.model_fields[last].annotation is int


def look_up(values: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; a layer without its own schedule has the shared one."""
    if key.startswith(BY_LAYER):
        layer, _, field = key.removeprefix(BY_LAYER).rpartition(".")
        mask = values["mask"]
        return mask["values_by_layer"].get(layer, mask["values"])[field]
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of nested dictionaries, in place.

    A layer that gets a schedule of its own starts from the shared one.
    """
    if key.startswith(BY_LAYER):
        layer, _, field = key.removeprefix(BY_LAYER).rpartition(".")
        mask = values["mask"]
        own = mask["values_by_layer"].setdefault(layer, dict(mask["values"]))
        own[field] = value
        return
    *sections, last = key.split(".")
    for section in sections:
        values = values[section]
    values[last] = value
