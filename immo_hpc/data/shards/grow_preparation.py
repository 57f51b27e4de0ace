"""The preparation of a set that grows: what is fitted stays, what is new is fitted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from immo_hpc.config import ImmoConfig, PreparationConfig
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.preparation import LayerPreparation, Preparation, fit_preparation
from immo_hpc.data.preparation.join import join_features, unknown_features
from immo_hpc.data.shards.arrivals import Arrivals
from immo_hpc.errors import ShardError


@dataclass(frozen=True)
class GrownPreparation:
    """The preparation of the grown set.

    Attributes:
        preparation: Layers of the set in their order, then new ones.
        joined: Features that joined a layer, by layer.
        notices: What was fitted or left out, as sentences.
    """

    preparation: Preparation
    joined: Mapping[str, tuple[str, ...]]
    notices: tuple[str, ...]


def set_config(folder: Path, manifest: Manifest) -> ImmoConfig:
    """The configuration that made a set, as far as its manifest tells; else the defaults.

    Raises:
        ShardError: If it is none, or the manifest has no preparation for its layers.
    """
    parts = {key: value for key, value in manifest.config.items() if key in ImmoConfig.model_fields}
    try:
        config = ImmoConfig.model_validate(parts)
    except ValidationError as error:
        message = f"{folder}: the configuration in the manifest cannot be used ({error})."
        raise ShardError(message) from error
    found = [entry["name"] for entry in manifest.preparation.get("layers", [])]
    if found != list(manifest.features):
        message = (
            f"{folder}: expected a fitted preparation of the layers {list(manifest.features)} in "
            f"the manifest, found one of {found}. Only sets of 'immo prepare' can grow."
        )
        raise ShardError(message)
    return config


def grow_preparation(
    old: Preparation,
    arrivals: Arrivals,
    train: NDArray[np.int64],
    config: PreparationConfig,
    *,
    add_features: bool,
) -> GrownPreparation:
    """Fit what a set does not have yet.

    Args:
        old: Preparation of the set; what it holds is kept.
        arrivals: What comes.
        train: Training samples among it, places in its cohort.
        config: Filters and options of the set.
        add_features: Let unknown features join their layers.

    Raises:
        CohortError: If no training sample has a new layer or the features that are to join.
    """
    cohort = arrivals.cohort
    layers = dict(old.layers)
    joined: dict[str, tuple[str, ...]] = {}
    notices: list[str] = []
    is_new = np.zeros(len(cohort.samples), dtype=np.bool_)
    is_new[np.concatenate([arrivals.new, arrivals.known])] = True
    is_train = np.zeros_like(is_new)
    is_train[train] = True
    for name, preparation in old.layers.items():
        if name not in cohort.layers or not is_new.any():
            continue
        layer = cohort.layers[name]
        if layer.kind != preparation.kind:
            notices.append(
                f"layer '{name}' is {layer.kind} here, but {preparation.kind} in the set: "
                f"prepared as {preparation.kind}."
            )
        missing = [feature for feature in preparation.features if feature not in layer.features]
        if missing:
            notices.append(
                f"layer '{name}': {len(missing)} of the set's {len(preparation.features)} features "
                f"are missing and count as not measured: {_some(missing)}."
            )
        unknown = unknown_features(preparation, layer)
        if unknown and not add_features:
            notices.append(
                f"layer '{name}': {len(unknown)} features are unknown to the set and left out: "
                f"{_some(unknown)} (--add-features lets them join)."
            )
        elif unknown:
            brings = np.zeros_like(is_new)
            brings[arrivals.new] = True
            brings[arrivals.known[arrivals.gets[name]]] = True
            rows = np.flatnonzero((brings & is_train)[layer.rows])
            found = join_features(preparation, layer, rows, config)
            layers[name], joined[name] = found.preparation, found.features
            notices.append(_told(name, found.features, found.dropped))
    joined = {name: features for name, features in joined.items() if features}
    fresh = {name: layer for name, layer in cohort.layers.items() if name not in old.layers}
    if fresh and is_new.any():
        fitted = fit_preparation(replace(cohort, layers=fresh), train, config)
        layers |= fitted.layers
        notices += [_fitted(layer) for layer in fitted.layers.values()]
    return GrownPreparation(Preparation(layers), joined, tuple(notices))


def _told(name: str, joined: tuple[str, ...], dropped: Mapping[str, tuple[str, ...]]) -> str:
    removed = ", ".join(
        f"preparation.{rule} removed {len(features)}"
        for rule, features in dropped.items()
        if features
    )
    told = f"layer '{name}': {len(joined)} features joined"
    told += f": {_some(joined)}" if joined else ""
    return f"{told} ({removed})." if removed else f"{told}."


def _fitted(layer: LayerPreparation) -> str:
    return (
        f"layer '{layer.name}' is new: fitted as {layer.kind} on {layer.num_rows} training "
        f"samples, {len(layer.features)} features kept."
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
