"""Weights of a finished run for a new one, matched by the names of layers and features.

The first map of an encoder has a column a feature, the last map of the decoder a row and a
bias: these follow the features. Everything else of a layer, and all that layers share, is taken
as it is. Layers and features that the run did not know keep the weights they were just given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from immo_hpc.config import ModelConfig
from immo_hpc.errors import ConfigError, RunError
from immo_hpc.nn import ImmoModel
from immo_hpc.train.model_file import SavedModel, load_model
from immo_hpc.train.run import RunFolder

_SHAPE = ("latent_dim", "encoder_dims", "decoder_dims")
_NAMED = 3


@dataclass(frozen=True)
class LayerReuse:
    """What a layer's weights are made of.

    Attributes:
        reused: Number of features whose weights are taken.
        new: Names of those that begin anew.
        dropped: Names of those of the run that are not there any more.
    """

    reused: int
    new: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class WarmStart:
    """A finished run to start from, and what of it can be used.

    Attributes:
        run: Its folder, absolute.
        weights_sha256: Checksum of its weights, hexadecimal.
        saved: Its network.
        layers: Layers that both know, by name.
        new_layers: Layers that it does not know.
        dropped_layers: Its layers that are not there any more.
    """

    run: Path
    weights_sha256: str
    saved: SavedModel
    layers: dict[str, LayerReuse]
    new_layers: tuple[str, ...]
    dropped_layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What run.json keeps of it."""
        return {
            "run": str(self.run),
            "weights_sha256": self.weights_sha256,
            "layers": {name: asdict(layer) for name, layer in self.layers.items()},
            "new_layers": list(self.new_layers),
            "dropped_layers": list(self.dropped_layers),
        }

    def sentences(self) -> list[str]:
        """What is reused and what is new, for people."""
        said = [f"starts from {self.run}: the latent and the decoder's blocks are reused."]
        for name, layer in self.layers.items():
            parts = [f"{layer.reused} features reused"]
            parts += [f"{len(layer.new)} new ({_some(layer.new)})"] if layer.new else []
            parts += [f"{len(layer.dropped)} dropped ({_some(layer.dropped)})"] * bool(
                layer.dropped
            )
            said.append(f"layer {name}: {', '.join(parts)}.")
        said += [f"layer {name}: new, begins anew." for name in self.new_layers]
        said += [f"layer {name}: dropped, no shard has it." for name in self.dropped_layers]
        return said


def warm_start(run: Path, features: Mapping[str, Sequence[str]], config: ModelConfig) -> WarmStart:
    """Open a finished run to start another one from.

    Args:
        run: Its folder.
        features: Feature names of the new training by layer.
        config: Shape of the new network.

    Raises:
        RunError: If the run is not finished or its model is damaged.
        ConfigError: If the network's shape differs (the keys are named), or the run knows none
            of the layers and features.
    """
    saved = load_model(run)
    _require_shape(run, saved.model.config, config)
    layers = {
        name: _compared(names, saved.features[name])
        for name, names in features.items()
        if name in saved.features
    }
    if not any(layer.reused for layer in layers.values()):
        message = (
            f"--init-from {run}: none of its features is there. It knows the layers "
            f"{_listed(saved.features)}, the shards hold {_listed(features)}. Train without "
            "--init-from, or name a run on the same kind of data."
        )
        raise ConfigError(message)
    digest = hashlib.sha256(RunFolder(run).weights.read_bytes()).hexdigest()
    return WarmStart(
        run=run.resolve(),
        weights_sha256=digest,
        saved=saved,
        layers=layers,
        new_layers=tuple(name for name in features if name not in saved.features),
        dropped_layers=tuple(name for name in saved.features if name not in features),
    )


def check_start(run: RunFolder, asked: Path | None) -> dict[str, Any] | None:
    """What a run was begun with, as its run.json keeps it; None if it began anew.

    Args:
        run: An existing run.
        asked: Run to start from that was asked for again, if any.

    Raises:
        RunError: If it was another one.
    """
    recorded: dict[str, Any] | None = run.read_description().get("init_from")
    if asked is not None and (recorded is None or Path(recorded["run"]) != asked.resolve()):
        before = "with fresh weights" if recorded is None else f"with those of {recorded['run']}"
        message = (
            f"{run.path}: the run was begun {before}, not with those of {asked}. Resume without "
            "--init-from, or train anew in a new folder."
        )
        raise RunError(message)
    return recorded


def require_same(start: WarmStart, recorded: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on from another network than the one that a run was begun with.

    Raises:
        RunError: If it has changed.
    """
    if start.weights_sha256 != recorded["weights_sha256"]:
        message = (
            f"{where}: the run was begun with the weights of {start.run}, which have changed "
            "since, and it has no checkpoint yet. Begin again in a new folder."
        )
        raise RunError(message)


@torch.no_grad()
def take_weights(model: ImmoModel, features: Mapping[str, Sequence[str]], start: WarmStart) -> None:
    """Put the weights of the run into ``model``; what is new in it stays as it is.

    Args:
        model: A freshly initialised network.
        features: Its feature names by layer.
        start: The run.
    """
    old = start.saved.model
    model.latent_bias.copy_(old.latent_bias)
    _copy_all(model.decoder.state_dict(), old.decoder.state_dict())
    for name in start.layers:
        here, there = model.place[name], old.place[name]
        to, source = _matched(features[name], start.saved.features[name])
        model.fusion[here].copy_(old.fusion[there])
        encoder, before = model.encoders[here].state_dict(), old.encoders[there].state_dict()
        first = "blocks.0.weight"
        _copy_all(encoder, {key: tensor for key, tensor in before.items() if key != first})
        encoder[first][:, to.to(encoder[first].device)] = before[first][:, source].to(
            encoder[first].device
        )
        for now, then in (
            (model.output_weights[here], old.output_weights[there]),
            (model.output_biases[here], old.output_biases[there]),
        ):
            now[to.to(now.device)] = then[source].to(now.device)


def _copy_all(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    for key, tensor in source.items():
        target[key].copy_(tensor)


def _matched(now: Sequence[str], before: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Places of the features that both have: in ``now``, and in ``before``."""
    place = {name: number for number, name in enumerate(before)}
    pairs = [(number, place[name]) for number, name in enumerate(now) if name in place]
    table = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
    return table[:, 0], table[:, 1]


def _compared(now: Sequence[str], before: Sequence[str]) -> LayerReuse:
    known, wanted = set(before), set(now)
    new = tuple(name for name in now if name not in known)
    return LayerReuse(
        len(now) - len(new), new, tuple(name for name in before if name not in wanted)
    )


def _require_shape(run: Path, before: ModelConfig, now: ModelConfig) -> None:
    differing = [key for key in _SHAPE if getattr(before, key) != getattr(now, key)]
    if differing:
        pairs = "; ".join(
            f"model.{key} is {_plain(getattr(now, key))}, in the run {_plain(getattr(before, key))}"
            for key in differing
        )
        message = (
            f"--init-from {run}: the networks are of different shape: {pairs}. Leave these keys "
            "out to take those of the run, or train without --init-from."
        )
        raise ConfigError(message)


def _plain(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _listed(features: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} ({len(names)} features)" for name, names in features.items())
