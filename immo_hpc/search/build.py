"""The space of a search, from the paper's, a YAML file, and words of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from immo_hpc.config import ImmoConfig, load_config
from immo_hpc.errors import ConfigError
from immo_hpc.search.dimension import Dimension, Value, dimension_of, spec_of_text
from immo_hpc.search.keys import BY_LAYER, WEIGHTS, is_whole, put, require_key
from immo_hpc.search.space import Space, check_space, share_keys

_EVERY_LAYER = f"{BY_LAYER}*."
_SHARED = "mask.values."
# The ranges of the paper (Table of hyperparameters); loss weights on the whole simplex.
PAPER_SPECS: Mapping[str, Value] = {
    "model.latent_dim": {"low": 32, "high": 128},
    "model.dropout": {"low": 0.1, "high": 0.5},
    "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "mask.values.p0": {"low": 0.3, "high": 0.9},
    "train.lr_decay": {"low": 0.9, "high": 0.99},
    WEIGHTS: "simplex",
}
_PAPER_OPTIMUM: Mapping[str, Value] = {
    "model.latent_dim": 110,
    "model.dropout": 0.47329,
    "train.learning_rate": 0.00183,
    "mask.values.p0": 0.9,
    "train.lr_decay": 0.99,
}
STARTS: Mapping[str, Mapping[str, Value]] = {"paper": PAPER_SPECS, "empty": {}}


def build_space(
    layers: Sequence[str],
    base: ImmoConfig,
    *,
    file: Path | None = None,
    texts: Sequence[str] = (),
    assignments: Sequence[str] = (),
) -> tuple[Space, list[str]]:
    """The space to search.

    Args:
        layers: Layers of the cohort, in order.
        base: Configuration of what is not searched.
        file: YAML file: ``start`` ('paper', the default, or 'empty'), and ``keys`` with a
            range, choices, a value to fix, or null to leave a key out of the search.
        texts: Specifications as ``--search`` has them; they go over those of the file.
        assignments: ``--set`` texts that ``base`` was made with: keys they set are not
            searched.

    Returns:
        The space, and sentences about keys that were left out of it.

    Raises:
        ConfigError: For unknown keys, empty ranges and contradictions.
    """
    start, asked, where = _asked(file, texts, layers)
    notices = []
    fixed_before = {text.partition("=")[0].strip() for text in assignments}
    for key in sorted(fixed_before & set(asked)):
        message = f"{key} is set with --set and searched as well; leave out one of the two."
        raise ConfigError(message)
    specs = {key: spec for key, spec in start.items() if key not in asked}
    for key in [key for key in specs if key in fixed_before]:
        del specs[key]
        notices.append(f"{key} is set, so it is not searched.")
    _resolve_layers(specs, asked)
    specs |= {key: spec for key, spec in asked.items() if spec is not None}
    dimensions, fixed = _parts(specs, layers, where)
    if not dimensions:
        message = f"{where}: nothing is searched; give at least one range or list of choices."
        raise ConfigError(message)
    space = Space(tuple(layers), _ordered(dimensions, fixed, where), fixed)
    check_space(space, base, where)
    return space, notices


def paper_optimum(base: ImmoConfig, layers: Sequence[str]) -> ImmoConfig:
    """``base`` with the best values that the paper's own search found.

    Its loss weights name three layers, the metabolome with the largest; other layers are
    weighted alike.
    """
    merged = base.model_dump(mode="json")
    for key, value in _PAPER_OPTIMUM.items():
        put(merged, key, value)
    merged["loss"]["weights"] = dict.fromkeys(layers, 1.0)
    if len(layers) == 3 and "mb" in layers:
        merged["loss"]["weights"] = {name: 0.4 if name == "mb" else 0.3 for name in layers}
    return load_config(base=merged)


def _asked(
    file: Path | None, texts: Sequence[str], layers: Sequence[str]
) -> tuple[Mapping[str, Value], dict[str, Value], str]:
    """The start, the specifications asked for by key, and what to name in messages."""
    start, asked = "paper", {}
    where = "search space" if file is None else str(file)
    if file is not None:
        content = _read(file)
        start = content.get("start", "paper")
        asked = _expanded(dict(content.get("keys") or {}), layers)
        for key in asked:
            require_key(key, layers, where)
    if start not in STARTS:
        message = f"{where}: start: expected {' or '.join(STARTS)}, found {start!r}."
        raise ConfigError(message)
    from_texts: dict[str, Value] = {}
    for text in texts:
        key, spec = spec_of_text(text)
        for one, value in _expanded({key: spec}, layers).items():
            require_key(one, layers, f"--search '{text}'")
            if one in from_texts:
                message = f"--search '{text}': {one} is given twice, with different values."
                raise ConfigError(message)
            from_texts[one] = value
    return STARTS[start], asked | from_texts, where


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{file}: the search space cannot be read ({error.strerror})."
        raise ConfigError(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{file}: not valid YAML ({error})."
        raise ConfigError(message) from error
    if not isinstance(content, dict) or set(content) - {"start", "keys"}:
        message = f"{file}: expected the keys 'start' and 'keys', found {content!r:.200}."
        raise ConfigError(message)
    if not isinstance(content.get("keys") or {}, dict):
        message = f"{file}: 'keys' holds a key of the configuration and its range on each line."
        raise ConfigError(message)
    return content


def _expanded(specs: Mapping[str, Value], layers: Sequence[str]) -> dict[str, Value]:
    """Specifications with ``*`` replaced by each layer."""
    expanded: dict[str, Value] = {}
    for key, spec in specs.items():
        name = str(key)
        if name.startswith(_EVERY_LAYER):
            last = name.removeprefix(_EVERY_LAYER)
            expanded |= {f"{BY_LAYER}{layer}.{last}": spec for layer in layers}
        else:
            expanded[name] = spec
    return expanded


def _resolve_layers(specs: dict[str, Value], asked: Mapping[str, Value]) -> None:
    """A key that is searched layer by layer is not searched for all layers at once.

    Raises:
        ConfigError: If both were asked for.
    """
    for key in asked:
        if not key.startswith(BY_LAYER) or asked[key] is None:
            continue
        shared = _SHARED + key.rpartition(".")[2]
        if asked.get(shared) is not None:
            message = f"{key} and {shared} contradict each other: search one of the two."
            raise ConfigError(message)
        specs.pop(shared, None)


def _parts(
    specs: Mapping[str, Value], layers: Sequence[str], where: str
) -> tuple[list[Dimension], dict[str, Value]]:
    dimensions: list[Dimension] = []
    fixed: dict[str, Value] = {}
    for key, spec in specs.items():
        if key == WEIGHTS and spec == "simplex":
            dimensions += [Dimension(share, "float", 0.0, 1.0) for share in share_keys(layers)]
        elif key == WEIGHTS and (not isinstance(spec, dict) or set(spec) - set(layers)):
            message = (
                f"{where}: {WEIGHTS}: expected 'simplex', or a weight for each of the layers "
                f"{', '.join(layers)}; found {spec!r}."
            )
            raise ConfigError(message)
        elif key != WEIGHTS and isinstance(spec, dict):
            dimensions.append(dimension_of(key, spec, is_int=is_whole(key), where=where))
        else:
            fixed[key] = spec
    return dimensions, fixed


def _ordered(
    dimensions: Sequence[Dimension], fixed: Mapping[str, Value], where: str
) -> tuple[Dimension, ...]:
    """The dimensions, each after those it depends on.

    Raises:
        ConfigError: If one depends on what is neither fixed nor a choice, or in a circle.
    """
    by_key = {dimension.key: dimension for dimension in dimensions}
    for dimension in dimensions:
        for other, values in dimension.when:
            known = by_key[other].choices if other in by_key else (fixed.get(other),)
            if other not in {*by_key, *fixed} or not set(map(str, values)) <= set(map(str, known)):
                message = (
                    f"{where}: {dimension.key} is searched when {other} is {list(values)}, but "
                    f"{other} is never that: name a key with choices among them."
                )
                raise ConfigError(message)
    ordered: list[Dimension] = []
    while len(ordered) < len(dimensions):
        placed = {dimension.key for dimension in ordered} | set(fixed)
        ready = [
            dimension
            for dimension in dimensions
            if dimension not in ordered and all(other in placed for other, _ in dimension.when)
        ]
        if not ready:
            message = f"{where}: the conditions under 'when' run in a circle."
            raise ConfigError(message)
        ordered += ready
    return tuple(ordered)
