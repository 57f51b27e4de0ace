"""What a search may make better, by name."""

from __future__ import annotations

from dataclasses import dataclass

from immo_hpc.errors import ConfigError
from immo_hpc.search.suggest import Direction


@dataclass(frozen=True)
class Measure:
    """One objective.

    Attributes:
        name: Its name.
        direction: What is better.
        meaning: What it is, with its unit, in words.
        warning: Why its values do not compare between trials; empty if they do.
    """

    name: str
    direction: Direction
    meaning: str
    warning: str = ""


MEASURES = {
    measure.name: measure
    for measure in (
        Measure(
            "held-out",
            "minimize",
            "error on hidden values and hidden layers of held-out people, every layer counting "
            "the same, squared z-score units",
        ),
        Measure(
            "auc",
            "maximize",
            "area under the curve of a logistic regression on the latent, by cross-validation "
            "over people of the training and validation sides",
        ),
        Measure(
            "cost",
            "minimize",
            "10^12 operations of the training: 6 for each weight and sample it went through",
        ),
        Measure(
            "paper",
            "minimize",
            "the training loss of the paper (Eq. 7) at the epoch that is kept",
            "objective 'paper': this loss is measured with each trial's own masks and weights. "
            "Where these are searched, a trial with an easier mask or kinder weights wins without "
            "a better model, so its values do not compare between trials. Use 'held-out'.",
        ),
    )
}


def measures_of(text: str) -> tuple[Measure, ...]:
    """The objectives of a comma-separated list.

    Raises:
        ConfigError: If one is unknown or named twice.

    Example:
        >>> [measure.direction for measure in measures_of("held-out,auc")]
        ['minimize', 'maximize']
    """
    names = [part.strip() for part in text.split(",")]
    if unknown := [name for name in names if name not in MEASURES]:
        message = f"--objective: unknown {unknown}; there are {', '.join(MEASURES)}."
        raise ConfigError(message)
    if len(set(names)) < len(names):
        message = f"--objective '{text}': an objective is named twice."
        raise ConfigError(message)
    return tuple(MEASURES[name] for name in names)
