"""One searched key: its range or choices, its scale, and when it is searched at all."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import yaml

from immo_hpc.errors import ConfigError

Kind = Literal["int", "float", "choice"]
Value = Any  # int, float, text, truth value, or a list of these: what a YAML file can hold.
_RANGE = re.compile(r"\s*(?P<low>.+?)\s*\.\.\s*(?P<high>.+?)\s*(?P<log>:log)?\s*")
_SPEC_KEYS = ("low", "high", "log", "choices", "when")


@dataclass(frozen=True)
class Dimension:
    """A key and the values it may take.

    Attributes:
        key: Dotted key of the configuration, or a name of `immo_hpc.search.space`.
        kind: 'int', 'float' (a range, both ends included) or 'choice'.
        low: Lower end; None for choices.
        high: Upper end; None for choices.
        log: Searched on a logarithmic scale.
        choices: Values to choose from.
        when: Searched only where these other keys have one of these values.
    """

    key: str
    kind: Kind
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def holds(self, value: Value) -> bool:
        """True if ``value`` is one this dimension may take."""
        if self.kind == "choice":
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high and (self.kind == "float" or value == int(value))

    def applies(self, params: Mapping[str, Value]) -> bool:
        """True if this key is searched beside these values of the others."""
        return all(params.get(key) in values for key, values in self.when)

    def to_dict(self) -> dict[str, Any]:
        """The dimension as plain values."""
        return asdict(self)


def dimension_from_dict(values: Mapping[str, Any]) -> Dimension:
    """The dimension that `Dimension.to_dict` gave, after JSON made lists of its tuples."""
    when = tuple((key, tuple(chosen)) for key, chosen in values["when"])
    return Dimension(**{**values, "choices": tuple(values["choices"]), "when": when})


def spec_of_text(text: str) -> tuple[str, Value]:
    """Key and specification of ``key=range``, ``key=a|b`` or ``key=value``.

    Raises:
        ConfigError: If there is no key or no value.

    Example:
        >>> spec_of_text("train.batch_size=32..256:log")
        ('train.batch_size', {'low': 32, 'high': 256, 'log': True})
        >>> spec_of_text("loss.scope=kept|observed")
        ('loss.scope', {'choices': ['kept', 'observed']})
        >>> spec_of_text("train.lr_decay=0.98")
        ('train.lr_decay', 0.98)
    """
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key or not value.strip():
        message = (
            f"--search '{text}': expected key=low..high (with :log for a logarithmic scale), "
            "key=a|b|c, or key=value to fix it; such as train.batch_size=32..256:log."
        )
        raise ConfigError(message)
    where = f"--search '{text}'"
    if found := _RANGE.fullmatch(value):
        low, high = _plain(found["low"], where), _plain(found["high"], where)
        spec: dict[str, Value] = {"low": low, "high": high}
        return key, spec | ({"log": True} if found["log"] else {})
    if "|" in value:
        return key, {"choices": [_plain(part, where) for part in value.split("|")]}
    return key, _plain(value, where)


def dimension_of(key: str, spec: Mapping[str, Value], *, is_int: bool, where: str) -> Dimension:
    """A checked dimension.

    Args:
        key: Its key.
        spec: ``low`` and ``high`` (and ``log``), or ``choices``; and ``when``.
        is_int: Whether the key holds whole numbers.
        where: What to name in messages.

    Raises:
        ConfigError: For unknown entries, an empty range, or choices that are none.
    """
    unknown = sorted(set(spec) - set(_SPEC_KEYS))
    if unknown:
        message = f"{where}: {key}: unknown entries {unknown}; there are {', '.join(_SPEC_KEYS)}."
        raise ConfigError(message)
    when = _when(key, spec.get("when") or {}, where)
    if "choices" in spec:
        return Dimension(key, "choice", choices=_choices(key, spec, where), when=when)
    low, high, log = _number(spec.get("low")), _number(spec.get("high")), spec.get("log", False)
    if low is None or high is None or not isinstance(log, bool):
        message = (
            f"{where}: {key}: expected numbers low and high (and log: true or false), or "
            f"choices; found {dict(spec)!r}."
        )
        raise ConfigError(message)
    if is_int and not (low == int(low) and high == int(high)):
        message = f"{where}: {key} holds whole numbers, found the range {low}..{high}."
        raise ConfigError(message)
    if not low < high:
        message = f"{where}: {key}: the range {low}..{high} is empty; give low < high."
        raise ConfigError(message)
    if log and low <= 0:
        message = f"{where}: {key}: a logarithmic scale begins above 0, found {low}..{high}."
        raise ConfigError(message)
    if is_int:
        return Dimension(key, "int", int(low), int(high), log, when=when)
    return Dimension(key, "float", float(low), float(high), log, when=when)


def _choices(key: str, spec: Mapping[str, Value], where: str) -> tuple[Value, ...]:
    choices = spec["choices"]
    if not isinstance(choices, list) or len({str(value) for value in choices}) < 2:
        message = f"{where}: {key}: expected at least two different choices, found {choices!r}."
        raise ConfigError(message)
    if len({str(value) for value in choices}) < len(choices) or set(spec) - {"choices", "when"}:
        message = f"{where}: {key}: choices repeat, or stand beside a range; found {dict(spec)!r}."
        raise ConfigError(message)
    return tuple(choices)


def _when(key: str, when: Value, where: str) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    if not isinstance(when, Mapping) or key in when:
        message = f"{where}: {key}: expected other keys and their values under 'when'."
        raise ConfigError(message)
    return tuple(
        (other, tuple(values) if isinstance(values, list) else (values,))
        for other, values in when.items()
    )


def _plain(text: str, where: str) -> Value:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        message = f"{where}: '{text.strip()}' is not a value in YAML."
        raise ConfigError(message) from None
    number = _number(value)
    return value if number is None else number


def _number(value: Value) -> int | float | None:
    """The number ``value`` is, or spells; None for anything else."""
    if isinstance(value, str):
        # YAML 1.1 takes 1e-4 for text: it wants a point in it.
        with contextlib.suppress(ValueError):
            value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None
