"""Numbers and lists as they stand in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from immo_hpc.analysis.results import Interval, MethodScore

UNDEFINED = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def number(value: float, *, sign: bool = False) -> str:
    r"""Two decimals with a true minus sign; a dash where the value is undefined.

    Example:
        >>> number(0.046), number(-0.046) == "\N{MINUS SIGN}0.05"
        ('0.05', True)
    """
    if not math.isfinite(value):
        return UNDEFINED
    return f"{value:{'+' if sign else ''}.2f}".replace("-", _MINUS)


def bracketed(interval: Interval) -> str:
    """An estimate and its interval for a table.

    Example:
        >>> bracketed(Interval(0.72, 0.5, 0.88))
        '0.72 [0.50, 0.88]'
    """
    if not is_known(interval):
        return number(interval.value)
    return f"{number(interval.value)} [{number(interval.lower)}, {number(interval.upper)}]"


def spelled_out(interval: Interval, *, sign: bool = False) -> str:
    """An estimate and its interval for a sentence.

    Example:
        >>> spelled_out(Interval(0.72, 0.5, 0.88))
        '0.72 (95 % interval 0.50 to 0.88)'
    """
    if not is_known(interval):
        return number(interval.value, sign=sign)
    lower, upper = number(interval.lower, sign=sign), number(interval.upper, sign=sign)
    return f"{number(interval.value, sign=sign)} (95 % interval {lower} to {upper})"


def is_known(interval: Interval) -> bool:
    """True if both ends of the interval are defined."""
    return math.isfinite(interval.lower) and math.isfinite(interval.upper)


def method_title(score: MethodScore) -> str:
    """Title of a method with what it saw."""
    saw = {"latent": " on the latent", "raw": " on raw features"}
    return score.title + saw.get(score.source, "")


def class_title(label: str, value: str) -> str:
    """A class as it stands in the text: a bare number gets the label's name.

    Example:
        >>> class_title("ibd", "1"), class_title("diagnosis", "nonIBD")
        ('ibd=1', 'nonIBD')
    """
    return value if any(character.isalpha() for character in value) else f"{label}={value}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listed(["mg", "mt", "mb"])
        'mg, mt and mb'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
