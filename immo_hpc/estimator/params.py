"""The estimator's parameters and the configuration they stand for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from immo_hpc.config import ImmoConfig, Schedule, validated
from immo_hpc.errors import UsageError

_MODEL = ("latent_dim", "encoder_dims", "decoder_dims", "dropout")
_TRAIN = (
    "epochs",
    "batch_size",
    "learning_rate",
    "lr_decay",
    "weight_decay",
    "clip_norm",
    "patience",
    "companion",
    "device",
    "num_threads",
)


def plain(value: Any) -> Any:
    """Numpy scalars and containers as Python ones (searches hand over ``numpy.int64``)."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def config_of(params: Mapping[str, Any]) -> ImmoConfig:
    """The configuration that the estimator's parameters stand for.

    Raises:
        ConfigError: If a parameter has a wrong type or is out of range.
        UsageError: If ``random_state`` is none of those accepted.
    """
    given = {name: plain(value) for name, value in params.items() if name != "random_state"}
    growth = {"growth": given["growth"], "p_max": given["p_max"]}
    by_layer = given["p0"] if isinstance(given["p0"], dict) else {}
    default = Schedule().p0 if by_layer else given["p0"]
    values = {
        "seed": seed_of(params["random_state"]),
        "split": {"test_fraction": 0.0, "validation_fraction": given["validation_fraction"]},
        "preparation": {"min_prevalence": given["min_prevalence"]},
        "mask": {
            "dynamic": given["dynamic_mask"],
            "values": {"p0": default, **growth},
            "values_by_layer": {name: {"p0": p0, **growth} for name, p0 in by_layer.items()},
            "layers": {"p0": given["layer_p0"]},
        },
        "loss": {"scope": given["loss_scope"], "weights": given["layer_weights"] or {}},
        "model": {name: given[name] for name in _MODEL},
        "train": {name: given[name] for name in _TRAIN},
    }
    return validated(values, where="IMMO")


def params_of(config: ImmoConfig) -> dict[str, Any]:
    """Parameters of an estimator that trains as ``config`` says, as far as it has them."""
    p0 = {name: schedule.p0 for name, schedule in config.mask.values_by_layer.items()}
    return {
        "p0": p0 or config.mask.values.p0,
        "growth": config.mask.values.growth,
        "p_max": config.mask.values.p_max,
        "layer_p0": config.mask.layers.p0,
        "dynamic_mask": config.mask.dynamic,
        "loss_scope": config.loss.scope,
        "layer_weights": dict(config.loss.weights) or None,
        "validation_fraction": config.split.validation_fraction,
        "min_prevalence": config.preparation.min_prevalence,
        "random_state": config.seed,
        **{name: getattr(config.model, name) for name in _MODEL},
        **{name: getattr(config.train, name) for name in _TRAIN},
    }


def seed_of(random_state: Any) -> int:
    """Seed of a ``random_state``; never touches numpy's global generator.

    Args:
        random_state: An int >= 0; a ``numpy.random.RandomState`` or ``Generator``, from
            which a seed is drawn; or None for a new seed every time.

    Raises:
        UsageError: If it is none of these.

    Example:
        >>> seed_of(7)
        7
    """
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return int(random_state)
    message = f"random_state must be None, an int or a numpy generator; found {random_state!r}."
    raise UsageError(message)
