"""Conclusions about filling in what is missing."""

from __future__ import annotations

from collections.abc import Iterable

from immo_hpc.analysis.report.conclusions.statement import Conclusions
from immo_hpc.analysis.report.text import listed, number
from immo_hpc.analysis.results import ImputationResult

# Explained variance below which a filled value stands for a tendency only.
_WEAK_R2 = 0.3


def about_imputation(result: ImputationResult, unit: str) -> Conclusions:
    """Where filling in beats the average, and where ridge regression."""
    scores = result.scores[result.scores["method"] == "immo"]
    # Without an interval (a single person) the value itself decides.
    is_useful = scores["r2_lower"].fillna(scores["r2"]) > 0
    useful, useless = scores[is_useful], scores[~is_useful]
    difference = result.differences
    better, worse = difference[difference["lower"] > 0], difference[difference["upper"] < 0]
    undecided = difference[(difference["lower"] <= 0) & (difference["upper"] >= 0)]
    may = [
        (
            f"Filling in does better than the average of the training {unit}; share of variance "
            "explained (R²): {}.",
            [
                f"{layer} {number(r2)}"
                for layer, r2 in zip(useful["layer"], useful["r2"], strict=True)
            ],
            useful["task"],
        ),
        ("It fills in better than ridge regression here: {}.", better["layer"], better["task"]),
    ]
    may_not = [
        (
            "Filling in is not shown to beat the average here: {}. Do not use those values.",
            useless["layer"],
            useless["task"],
        ),
        ("Ridge regression fills in better here: {}.", worse["layer"], worse["task"]),
        (
            "Whether the model or ridge regression fills in better is open here: {}.",
            undecided["layer"],
            undecided["task"],
        ),
    ]
    caution: tuple[str, ...] = ()
    if (useful["r2"] < _WEAK_R2).any():
        caution = (
            "A filled-in value is a tendency, not a measurement: most of the variance stays "
            "unexplained, so do not test hypotheses on it.",
        )
    return Conclusions(_filled(may), (*_filled(may_not), *caution))


def _filled(forms: Iterable[tuple[str, Iterable[str], Iterable[str]]]) -> tuple[str, ...]:
    """Sentences with their places, from (form, layers, tasks); those without places fall out."""
    words = {"values": "single values", "layers": "whole layers"}
    sentences = []
    for form, layers, tasks in forms:
        places: dict[str, list[str]] = {}
        for layer, task in zip(layers, tasks, strict=True):
            places.setdefault(words[task], []).append(str(layer))
        if places:
            named = [f"{word} ({', '.join(names)})" for word, names in places.items()]
            sentences.append(form.replace("{}", listed(named)))
    return tuple(sentences)
