"""How a companion foretells each layer, as plain data that is saved with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from immo_hpc.companion.layers import LayerSetting
from immo_hpc.companion.values import ValueSetting
from immo_hpc.companion.weights import Weight

Mode = Literal["plain", "visits"]
Task = Literal["layers", "values", "revisited"]


@dataclass(frozen=True)
class Rules:
    """How each layer is foretold in one mode; layers that cannot be are not there.

    Attributes:
        layers: Setting and weight for samples that lack the layer.
        values: Setting and weight for single values missing from it.
        revisited: Setting and weight for samples that lack the layer and whose person has it at
            another visit; empty without other visits.
    """

    layers: Mapping[str, tuple[LayerSetting, Weight]]
    values: Mapping[str, tuple[ValueSetting, Weight]]
    revisited: Mapping[str, tuple[LayerSetting, Weight]] = field(default_factory=dict)
