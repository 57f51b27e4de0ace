"""The missingness laboratory: hiding measured values by a stated mechanism at a stated rate.

Hidden are z-scores of a prepared cohort, so that the truth is at hand and every method sees
the very same cohort. Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.errors import UsageError

Mechanism = Literal["none", "mcar", "mar", "mnar", "block", "own"]
Where = Literal["train", "test", "both"]

# In 'mar', this share of a layer's features is never hidden and decides about the others.
_DRIVER_SHARE = 0.1
# In 'mar', what one standard deviation of the deciding features does to the log-odds.
_STEEPNESS = 2.0
_VALUES = ("mcar", "mar", "mnar")

_Draw = Callable[[PreparedLayer, NDArray[np.bool_], float, np.random.Generator], NDArray[np.bool_]]


@dataclass(frozen=True)
class Missing:
    """A pattern of missingness that is put on top of the cohort's own.

    Attributes:
        mechanism: 'none'; single values 'mcar' (at random), 'mar' (depending on features that
            stay), 'mnar' (below a detection limit of each feature); whole layers 'block' (at
            random, a sample keeps one at least) or 'own' (a sample gets the measured layers and
            missing values of another sample of the cohort).
        rate: Share of the values (of the layers of a sample, for 'block'; of the samples that
            get another's pattern, for 'own').
        where: Side it is applied to; 'train' holds the validation samples too.
    """

    mechanism: Mechanism = "none"
    rate: float = 0.0
    where: Where = "both"

    @property
    def hides_test_values(self) -> bool:
        """True if single values of test samples are hidden, which can then be scored."""
        return self.mechanism in _VALUES and self.where != "train"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``mechanism:rate:where``, such as ``mnar:0.3:test``; 'none' alone is enough.

        Raises:
            UsageError: If a part is not known or the rate is not between 0 and 1.

        Example:
            >>> Missing.parse("mnar:0.3:test")
            Missing(mechanism='mnar', rate=0.3, where='test')
            >>> str(Missing.parse("block:0.5"))
            'block:0.5:both'
        """
        name, rate, where = ([*text.split(":"), "", ""])[:3]
        if text == "none":
            return cls()
        try:
            share = float(rate)
        except ValueError:
            share = -1.0
        most = 1 - _DRIVER_SHARE if name == "mar" else 1.0
        if (
            name not in get_args(Mechanism)
            or (where or "both") not in get_args(Where)
            or text.count(":") > 2
            or not 0 < share <= (most if name == "own" else min(most, 0.95))
        ):
            message = (
                f"--missing: found '{text}'; expected none, or MECHANISM:RATE[:WHERE] with a "
                f"mechanism of {', '.join(get_args(Mechanism)[1:])}, a rate above 0 and up to "
                "0.95 (own: 1; mar: 0.9), and train, test or both, such as mnar:0.3:test."
            )
            raise UsageError(message)
        return cls(name, share, where or "both")  # type: ignore[arg-type] # checked above

    def __str__(self) -> str:
        return (
            "none" if self.mechanism == "none" else f"{self.mechanism}:{self.rate:g}:{self.where}"
        )


def degrade(cohort: PreparedCohort, missing: Missing, seed: int) -> PreparedCohort:
    """The cohort with further values missing, as ``missing`` says.

    What limits and drivers are is learnt on the training side, whatever side is hidden from.

    Args:
        cohort: Prepared samples with their split.
        missing: The pattern.
        seed: Seed of the draws; the same for every method that is compared.
    """
    if missing.mechanism == "none":
        return cohort
    generator = np.random.default_rng([seed, *missing.mechanism.encode()])
    is_test = np.isin(np.arange(len(cohort.samples)), cohort.indices("test"))
    chosen = {"train": ~is_test, "test": is_test, "both": np.ones_like(is_test)}[missing.where]
    if missing.mechanism in _VALUES:
        draw = _DRAWS[missing.mechanism]
        return replace(
            cohort,
            layers={
                name: _without_values(
                    layer,
                    draw(layer, ~is_test[layer.rows], missing.rate, generator)
                    & chosen[layer.rows, None],
                )
                for name, layer in cohort.layers.items()
            },
        )
    if missing.mechanism == "block":
        return _with_layers(cohort, _kept_blocks(cohort, chosen, missing.rate, generator))
    return _like_others(cohort, chosen, missing.rate, generator)


def _at_random(
    layer: PreparedLayer,
    is_train: NDArray[np.bool_],
    rate: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    return np.asarray(generator.random(layer.values.shape) < rate)


def _by_drivers(
    layer: PreparedLayer,
    is_train: NDArray[np.bool_],
    rate: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Values are hidden where the mean of a few features, which stay, is high."""
    num_features = len(layer.features)
    num_drivers = max(1, round(_DRIVER_SHARE * num_features))
    is_driver = np.zeros(num_features, dtype=np.bool_)
    is_driver[generator.permutation(num_features)[:num_drivers]] = True
    drive = np.nan_to_num(layer.values[:, is_driver]).mean(axis=1, dtype=np.float64)
    own = drive[is_train] if is_train.any() else drive
    drive = _STEEPNESS * (drive - own.mean()) / (own.std() or 1.0)
    target = min(rate * num_features / max(num_features - num_drivers, 1), 0.99)
    reference = drive[is_train] if is_train.any() else drive
    # The mean chance grows from 0 to 1 with the offset: there is one that meets the rate.
    offset = brentq(lambda b: expit(reference + b).mean() - target, -50, 50)
    chance = expit(drive + offset)[:, None]
    return np.asarray((generator.random(layer.values.shape) < chance) & ~is_driver)


def _below_limit(
    layer: PreparedLayer,
    is_train: NDArray[np.bool_],
    rate: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Values below each feature's quantile on the training side are hidden."""
    hidden = np.zeros(layer.values.shape, dtype=np.bool_)
    for column, values in enumerate(layer.values.T):
        known = values[is_train & np.isfinite(values)]
        if len(known):
            hidden[:, column] = values < np.quantile(known, rate)
    return hidden


_DRAWS: Mapping[str, _Draw] = {"mcar": _at_random, "mar": _by_drivers, "mnar": _below_limit}


def _kept_blocks(
    cohort: PreparedCohort,
    chosen: NDArray[np.bool_],
    rate: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Layers each sample keeps, ``(sample, layer)``: one of its own at least."""
    measured = cohort.measured()
    # A large number for what is not there, so that the smallest is a layer the sample has.
    draws = np.where(measured, generator.random(measured.shape), 2.0)
    kept = (1 - draws >= rate) & measured
    spared = np.zeros_like(measured)
    spared[np.arange(len(measured)), draws.argmin(axis=1)] = True
    return np.where(chosen[:, None], kept | (spared & measured), measured)


def _like_others(
    cohort: PreparedCohort,
    chosen: NDArray[np.bool_],
    rate: float,
    generator: np.random.Generator,
) -> PreparedCohort:
    """Samples with the layers and values that another sample lacks missing too."""
    measured = cohort.measured()
    number = len(measured)
    donor = np.where(
        chosen & (generator.random(number) < rate),
        generator.integers(number, size=number),
        np.arange(number),
    )
    kept = measured & measured[donor]
    nothing = ~kept.any(axis=1)
    kept[nothing], donor[nothing] = measured[nothing], np.flatnonzero(nothing)
    layers = {}
    for name, layer in cohort.layers.items():
        row = np.full(number, -1, dtype=np.int64)
        row[layer.rows] = np.arange(len(layer.rows))
        theirs = row[donor[layer.rows]]
        lacks = np.isnan(layer.values[theirs]) & (theirs >= 0)[:, None]
        layers[name] = _without_values(layer, lacks)
    return _with_layers(replace(cohort, layers=layers), kept)


def _without_values(layer: PreparedLayer, hidden: NDArray[np.bool_]) -> PreparedLayer:
    return replace(layer, values=np.where(hidden, np.float32(np.nan), layer.values))


def _with_layers(cohort: PreparedCohort, kept: NDArray[np.bool_]) -> PreparedCohort:
    layers = {}
    for column, (name, layer) in enumerate(cohort.layers.items()):
        held = kept[layer.rows, column]
        layers[name] = replace(
            layer, values=layer.values[held], rows=layer.rows[held], scale=layer.scale[held]
        )
    return replace(cohort, layers=layers)
