"""The configuration of a run: typed, frozen, unknown keys refused.

One file format (YAML) and one loader. `load_config` reads a recipe, then a file,
then ``--set key=value`` pairs, each over the one before. The resolved configuration
is written into every run folder.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from immo_hpc.errors import ConfigError

LayerKind = Literal["composition", "counts", "intensity", "continuous", "binary"]
LAYER_KINDS: tuple[LayerKind, ...] = (
    "composition",
    "counts",
    "intensity",
    "continuous",
    "binary",
)


# YAML reads a site called 7 as a number.
_Text = Annotated[str, Field(coerce_numbers_to_str=True)]


# Where and how often, not what: a run may be gone on with under other values of these.
_FREE_KEYS = (
    "train.device",
    "train.num_threads",
    "train.checkpoint_epochs",
    "train.checkpoint_min",
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitConfig(_Section):
    """Who is learnt from, who decides when to stop, and who is only tested on."""

    by: Literal["subject", "sample"] = Field(
        "subject",
        description="Unit that never stands on two sides. 'sample' lets visits of one "
        "person stand on both and inflates every score; it exists for comparison.",
    )
    method: Literal["dealt", "hash"] = Field(
        "dealt",
        description="'dealt' meets the shares as nearly as possible, within each label. 'hash' "
        "takes each unit's side from its name and the seed alone, so that a cohort may grow "
        "without moving anybody; it meets the shares in expectation only.",
    )
    test_fraction: float = Field(0.25, ge=0, lt=1, description="Share of units held out for tests.")
    validation_fraction: float = Field(
        0.15, ge=0, lt=1, description="Share of units, of those not in the test set, for stopping."
    )
    test_batches: tuple[_Text, ...] = Field(
        (),
        description="Values of the batch column (sites) whose units are the test side, instead "
        "of test_fraction. A unit seen there is on the test side with all its samples.",
    )


class PreparationConfig(_Section):
    """Filters and options of the preparation, fitted on training samples."""

    min_prevalence: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Compositions and counts: keep features above zero in at least this "
        "share of the layer's training samples.",
    )
    min_measured: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Keep features measured in at least this share of the training samples.",
    )
    min_sd: float = Field(
        1e-6, ge=0, description="Keep features whose sd after transformation is above this."
    )
    tmm: bool = Field(True, description="Counts: scale libraries by TMM factors.")
    quantile: bool = Field(False, description="Intensities: quantile-normalise samples.")
    exclude: tuple[str, ...] = Field(
        (), description="Features to leave out: names or patterns, 'layer:' before them optional."
    )


class Schedule(_Section):
    """Keep probability by epoch t = 0, 1, ...: P(t) = min(p0 (1 + growth)^t, p_max) (Eq. 1)."""

    p0: float = Field(0.75, gt=0, le=1, description="Keep probability at the first epoch.")
    growth: float = Field(0.0, ge=0, description="Relative growth per epoch, r in Eq. 1.")
    p_max: float = Field(1.0, gt=0, le=1, description="Upper limit of the keep probability.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p0 > self.p_max:
            message = f"p0 ({self.p0}) must not exceed p_max ({self.p_max})"
            raise ValueError(message)
        return self

    def at(self, epoch: int) -> float:
        """Keep probability at ``epoch`` (counted from 0)."""
        rate = math.log1p(self.growth)
        # Asked in logarithms: the power itself overflows for long runs.
        if epoch * rate >= math.log(self.p_max / self.p0):
            return self.p_max if self.growth else self.p0
        return min(self.p0 * math.exp(epoch * rate), self.p_max)


class MaskConfig(_Section):
    """What is hidden from the encoder while training."""

    dynamic: bool = Field(
        True,
        description="True: new masks every epoch with growing keep probability. "
        "False: the masks of the first epoch, at p0, for the whole training.",
    )
    values: Schedule = Field(
        Schedule(p0=0.75, growth=0.01, p_max=0.95),
        description="Keep probability of single values, for layers not named in values_by_layer.",
    )
    values_by_layer: dict[str, Schedule] = Field(
        default_factory=dict, description="Keep probability of single values of the named layers."
    )
    layers: Schedule = Field(
        Schedule(p0=0.7),
        description="Keep probability of a sample's whole measured layer; p0: 1 turns it off.",
    )

    def value_probability(self, layer: str, epoch: int) -> float:
        """Keep probability of single values of ``layer`` at ``epoch`` (Eq. 1)."""
        return self.values_by_layer.get(layer, self.values).at(epoch if self.dynamic else 0)

    def layer_probability(self, epoch: int) -> float:
        """Keep probability of whole layers at ``epoch``."""
        return self.layers.at(epoch if self.dynamic else 0)

    def stream_epoch(self, epoch: int) -> int:
        """Epoch whose draw of the mask stream is used at ``epoch``."""
        return epoch if self.dynamic else 0


class LossConfig(_Section):
    """Weighted masked mean squared error (Eq. 7)."""

    scope: Literal["kept", "observed", "dropped"] = Field(
        "observed",
        description="Which measured values are scored: those shown to the encoder ('kept', "
        "the paper), all ('observed'), or those hidden from it ('dropped').",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        description="alpha of the named layers; layers not named get 1 before all are "
        "scaled to sum to 1.",
    )
    normalizer: Literal["scored", "size"] = Field(
        "scored",
        description="|X_i| in Eq. 7: number of scored values of the layer in the batch, or "
        "the layer's full size (batch size times features).",
    )

    @model_validator(mode="after")
    def _positive(self) -> Self:
        bad = {name: weight for name, weight in self.weights.items() if weight < 0}
        if bad:
            message = f"weights must be >= 0, got {bad}"
            raise ValueError(message)
        return self

    def layer_weights(self, layers: Sequence[str]) -> dict[str, float]:
        """Alpha by layer, summing to 1.

        Raises:
            ConfigError: If a weight names a layer that is not there, or all are 0.
        """
        unknown = sorted(set(self.weights) - set(layers))
        if unknown:
            message = f"loss.weights names {unknown}, but the layers are {list(layers)}."
            raise ConfigError(message)
        raw = {name: self.weights.get(name, 1.0) for name in layers}
        total = sum(raw.values())
        if total <= 0:
            message = f"loss.weights: at least one layer must have a weight above 0, got {raw}."
            raise ConfigError(message)
        return {name: weight / total for name, weight in raw.items()}


class ModelConfig(_Section):
    """Shape of the network."""

    latent_dim: int = Field(110, ge=1, description="Dimension of the shared latent.")
    encoder_dims: tuple[int, ...] = Field(
        (256,), min_length=1, description="Widths of the dense blocks of each layer's encoder."
    )
    decoder_dims: tuple[int, ...] = Field(
        (256,), min_length=1, description="Widths of the dense blocks of the shared decoder."
    )
    dropout: float = Field(0.6, ge=0, lt=1, description="Dropout rate inside dense blocks.")

    @model_validator(mode="after")
    def _widths(self) -> Self:
        if min(self.encoder_dims + self.decoder_dims) < 1:
            message = "encoder_dims and decoder_dims must be at least 1"
            raise ValueError(message)
        return self


class TrainConfig(_Section):
    """The optimisation."""

    epochs: int = Field(200, ge=1, description="Most epochs; early stopping may end before.")
    batch_size: int = Field(64, ge=1, description="Samples a step.")
    memory_gb: float = Field(
        4.0,
        gt=0,
        description="Memory for prepared values, 10^9 bytes. Cohorts above it are streamed from "
        "their shards in windows of it, which decides the order of the samples.",
    )
    balance: Literal["none", "pattern"] = Field(
        "none",
        description="'pattern': every batch has nearly its share of each set of measured layers.",
    )
    learning_rate: float = Field(0.00183, gt=0, description="Adam's step size at the first epoch.")
    lr_decay: float = Field(0.99, gt=0, le=1, description="Factor on the learning rate per epoch.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay (AdamW).")
    clip_norm: float = Field(1.0, gt=0, description="Largest global norm of the gradient.")
    patience: int = Field(
        20, ge=1, description="Epochs without a better held-out error before stopping."
    )
    min_delta: float = Field(
        1e-4, ge=0, description="Relative fall of the held-out error that counts as better."
    )
    companion: bool = Field(
        True,
        description="Fit closed forms beside the network after training, to foretell hidden "
        "layers and values together with it. Prepared values of training samples are then kept "
        "in the run folder; false keeps none, and the network says everything alone.",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    num_threads: int = Field(
        0,
        ge=0,
        description="CPU threads; 0: one if a step is too small to share, else torch's choice.",
    )
    checkpoint_epochs: int = Field(5, ge=1, description="Epochs between two checkpoints.")
    checkpoint_min: float = Field(10.0, gt=0, description="Most minutes between two checkpoints.")


class ImmoConfig(_Section):
    """Everything that decides a run's result, next to the data."""

    seed: int = Field(0, ge=0, lt=2**63, description="Seed of masks, weights, order and splits.")
    split: SplitConfig = Field(default_factory=SplitConfig)
    preparation: PreparationConfig = Field(default_factory=PreparationConfig)
    mask: MaskConfig = Field(default_factory=MaskConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)

    def to_yaml(self) -> str:
        """The whole configuration as YAML, keys in the order they are declared."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def default_recipe() -> dict[str, Any]:
    """Denoising with hidden layers: best hidden-layer error on IBDMDB (docs/results.md)."""
    return {}


def paper_recipe() -> dict[str, Any]:
    """The published settings: only shown values are scored, no whole layer is hidden."""
    return {
        "mask": {"values": {"p0": 0.75, "growth": 0.01, "p_max": 1.0}, "layers": {"p0": 1.0}},
        "loss": {"scope": "kept"},
        "model": {"latent_dim": 110, "dropout": 0.47329},
        "train": {"learning_rate": 0.00183, "lr_decay": 0.99, "companion": False},
    }


RECIPES = {"default": default_recipe, "paper": paper_recipe}


def load_config(
    file: Path | None = None,
    *,
    recipe: str = "default",
    assignments: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> ImmoConfig:
    """Resolve a configuration: base, recipe, file, then ``key.path=value`` assignments.

    Args:
        file: YAML file with any part of the keys.
        recipe: Name in `RECIPES`.
        assignments: Texts such as ``train.epochs=50``; values are read as YAML.
        base: Values to start from, such as those the shards were made with.

    Returns:
        The validated configuration.

    Raises:
        ConfigError: For an unknown recipe or key, a wrong type, a value out of range or
            a contradiction; the message names the key and lists the valid ones.

    Example:
        >>> load_config(assignments=["train.epochs=3"]).train.epochs
        3
    """
    if recipe not in RECIPES:
        message = f"recipe '{recipe}' is unknown; the recipes are {', '.join(RECIPES)}."
        raise ConfigError(message)
    # From the whole default, so that setting one key of a schedule keeps its other keys.
    values = _merged(_merged(ImmoConfig().model_dump(), base or {}), RECIPES[recipe]())
    if file is not None:
        values = _merged(values, _read_yaml(file))
    for assignment in assignments:
        values = _merged(values, _assignment(assignment))
    return validated(values, where=str(file) if file else "configuration")


def validated(values: Mapping[str, Any], *, where: str) -> ImmoConfig:
    """Turn plain values into an `ImmoConfig`, with errors that name the key.

    Raises:
        ConfigError: As for `load_config`.
    """
    try:
        return ImmoConfig.model_validate(values)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(lines)) from None


def config_keys(model: type[BaseModel] = ImmoConfig, prefix: str = "") -> list[str]:
    """Every dotted key of the configuration, in the order of declaration."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += config_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def differing_keys(before: ImmoConfig, now: ImmoConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted keys that decide a result and differ, with both values.

    Example:
        >>> a, b = ImmoConfig(), ImmoConfig(seed=1)
        >>> differing_keys(a, b)
        {'seed': (0, 1)}
    """
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    keys = dict.fromkeys([*old, *new])
    pairs = {key: (old.get(key), new.get(key)) for key in keys if key not in _FREE_KEYS}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "the configuration"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, config_keys(), n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        return f"unknown key '{key}'{hint}; the keys are {', '.join(config_keys())}"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}, found {item['input']!r}"


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{file}: the configuration cannot be read ({error.strerror})."
        raise ConfigError(message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{file}: not valid YAML ({error})."
        raise ConfigError(message) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        message = f"{file}: expected a mapping of keys, found {type(content).__name__}."
        raise ConfigError(message)
    return content


def _assignment(text: str) -> dict[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        message = f"--set '{text}': expected key.path=value, such as train.epochs=50."
        raise ConfigError(message)
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        message = f"--set '{text}': the value is not valid YAML ({error})."
        raise ConfigError(message) from error
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
