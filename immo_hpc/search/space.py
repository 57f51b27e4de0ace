"""What is searched: dimensions and fixed keys, and the configuration that a point stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from immo_hpc.config import ImmoConfig, validated
from immo_hpc.errors import ConfigError
from immo_hpc.search.dimension import Dimension, Value, dimension_from_dict
from immo_hpc.search.keys import BY_LAYER, WEIGHTS, look_up, put
from immo_hpc.search.simplex import shares_of, weights_of

Params = dict[str, Value]
_SHARE = f"{WEIGHTS}/"


@dataclass(frozen=True)
class Space:
    """A search space on a cohort of given layers.

    Attributes:
        layers: Layers of the cohort, in order.
        dimensions: What is searched, those that others depend on first.
        fixed: Keys that are set to one value in every trial.
    """

    layers: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Value] = field(default_factory=dict)

    def active(self, params: Mapping[str, Value]) -> list[Dimension]:
        """The dimensions that are searched beside these values of those before them."""
        known = {**self.fixed, **params}
        return [dimension for dimension in self.dimensions if dimension.applies(known)]

    def config(self, base: ImmoConfig, params: Mapping[str, Value], seed: int) -> ImmoConfig:
        """The configuration of a trial.

        Args:
            base: What is neither searched nor fixed.
            params: Values of the active dimensions by key.
            seed: Seed of the training.

        Raises:
            ConfigError: If the values contradict each other or do not fit the keys.
        """
        values = base.model_dump()
        # Shared values before those of single layers, which start from them.
        chosen = {**self.fixed, **params}
        for key in sorted(chosen, key=lambda name: name.startswith(BY_LAYER)):
            if not key.startswith(_SHARE):
                put(values, key, chosen[key])
        shares = [chosen[key] for key in share_keys(self.layers) if key in chosen]
        if shares:
            values["loss"]["weights"] = dict(zip(self.layers, weights_of(shares), strict=True))
        values["seed"] = seed
        return validated(values, where="search")

    def point(self, config: ImmoConfig) -> tuple[Params, list[str]]:
        """The point of the space that ``config`` is, as nearly as the space has it.

        Returns:
            Values by key, and the keys (with their values) that lie outside their range: a
            point with any of these is none of the space.
        """
        values = config.model_dump(mode="json")
        weights = config.loss.layer_weights(self.layers)
        shares = dict(zip(share_keys(self.layers), shares_of(list(weights.values())), strict=True))
        params: Params = {}
        outside = []
        for dimension in self.dimensions:
            if not dimension.applies({**self.fixed, **params}):
                continue
            key = dimension.key
            value = shares[key] if key in shares else look_up(values, key)
            if not dimension.holds(value):
                outside.append(f"{key}={value}")
            params[key] = value
        return params, outside

    def holds(self, params: Mapping[str, Value]) -> bool:
        """True if ``params`` is a point of this space, with neither more nor fewer keys."""
        active = self.active(params)
        return {dimension.key for dimension in active} == set(params) and all(
            dimension.holds(params[dimension.key]) for dimension in active
        )

    def to_dict(self) -> dict[str, Any]:
        """The space as plain values."""
        return {
            "layers": list(self.layers),
            "dimensions": [dimension.to_dict() for dimension in self.dimensions],
            "fixed": dict(self.fixed),
        }


def space_from_dict(values: Mapping[str, Any]) -> Space:
    """The space that `Space.to_dict` gave."""
    return Space(
        tuple(values["layers"]),
        tuple(dimension_from_dict(item) for item in values["dimensions"]),
        dict(values["fixed"]),
    )


def share_keys(layers: Sequence[str]) -> list[str]:
    """Names of the dimensions that loss weights on the simplex become (`simplex`).

    Example:
        >>> share_keys(["mg", "mt", "mb"])
        ['loss.weights/mg', 'loss.weights/mt']
    """
    return [f"{_SHARE}{name}" for name in layers[:-1]]


def check_space(space: Space, base: ImmoConfig, where: str) -> None:
    """Refuse a space whose ends are no valid configurations.

    Each range is tried at both ends and each choice once, the others at their first value
    or, for ranges, as in ``base`` where that lies inside, else in their middle.

    Raises:
        ConfigError: With the key and what the configuration says against its value.
    """
    start, _ = space.point(base)
    middle = {
        dimension.key: start[dimension.key]
        if dimension.key in start and dimension.holds(start[dimension.key])
        else _middle(dimension)
        for dimension in space.dimensions
    }
    try:
        space.config(base, middle, base.seed)
    except ConfigError as error:
        message = f"{where}: the fixed values {dict(space.fixed)} do not work: {error}"
        raise ConfigError(message) from error
    for dimension in space.dimensions:
        ends = dimension.choices or (_whole(dimension, "low"), _whole(dimension, "high"))
        for value in ends:
            params = {**middle, dimension.key: value}
            try:
                space.config(base, params, base.seed)
            except ConfigError as error:
                message = f"{where}: {dimension.key}={value} does not work: {error}"
                raise ConfigError(message) from error


def _middle(dimension: Dimension) -> Value:
    if dimension.kind == "choice":
        return dimension.choices[0]
    low, high = _whole(dimension, "low"), _whole(dimension, "high")
    if dimension.log:
        middle = (low * high) ** 0.5
        return round(middle) if dimension.kind == "int" else middle
    return (low + high) // 2 if dimension.kind == "int" else (low + high) / 2


def _whole(dimension: Dimension, end: str) -> Any:
    value = getattr(dimension, end)
    return int(value) if dimension.kind == "int" else value
