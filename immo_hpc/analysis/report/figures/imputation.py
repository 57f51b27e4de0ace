"""How well hidden measurements come back, beside the mean and ridge regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from immo_hpc.analysis.report.figures.svg import (
    GRID,
    MUTED,
    OTHER,
    PALETTE,
    SMALL,
    TEXT,
    Panel,
    draw,
    shortened,
)
from immo_hpc.analysis.report.text import number
from immo_hpc.analysis.results import ImputationResult

METHODS = {"immo": "this model", "ridge": "ridge regression", "mean": "average"}
TASKS = {"values": "single values", "layers": "whole layer"}
_STYLES = {"immo": ("o", PALETTE[0]), "ridge": ("s", PALETTE[1]), "mean": ("d", OTHER)}
_SCORES = {"r2": "R²", "spearman": "Spearman (median)"}
# Below this a score is drawn at the edge, with its value written out.
_FLOOR = -0.25


def imputation_panels(result: ImputationResult, unit: str) -> list[Panel]:
    """One panel a task: R² and rank correlation of every layer and method.

    Args:
        result: Hide-and-score imputation.
        unit: What is held out together, in the plural, such as ``people``.

    Returns:
        The panels ``imputation-values`` and ``imputation-layers``, each only if it was scored.
    """
    captions = {
        "values": f"{result.hidden_share:.0%} of the measured values of held-out {unit} were "
        "hidden and filled in from all the others.",
        "layers": f"The whole layer of held-out {unit} was hidden and filled in from their other "
        "layers.",
    }
    return [
        _panel(task, result.scores[result.scores["task"] == task], captions[task])
        for task in TASKS
        if (result.scores["task"] == task).any()
    ]


def _panel(task: str, scores: pd.DataFrame, caption: str) -> Panel:
    layers = list(dict.fromkeys(scores["layer"]))

    def paint(figure: Figure) -> None:
        for place, (score, label) in enumerate(_SCORES.items()):
            axes = figure.add_subplot(1, 2, place + 1)
            _dots(axes, scores, layers, score)
            axes.set_xlabel(label)
            names = [shortened(layer, 16) for layer in layers] if place == 0 else []
            axes.set_yticks(range(len(layers)), names or [""] * len(layers))
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3, handlelength=1.0)

    title = f"Hidden: {TASKS[task]}"
    alt = f"{title}, R² by layer and method: " + "; ".join(
        f"{row.layer} {METHODS.get(row.method, row.method)} {number(row.r2)}"
        for row in scores.itertuples()
    )
    caption += (
        " Farther right is better, 0 is the average of the training data; lines are 95 % intervals."
    )
    svg = draw(f"imputation-{task}", alt, 96 + 48 * len(layers), paint)
    return Panel(f"imputation-{task}", title, svg, caption)


def _dots(axes: Any, scores: pd.DataFrame, layers: list[str], score: str) -> None:
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    for line in range(1, len(layers)):
        axes.axhline(line - 0.5, color=GRID, linewidth=0.8)
    for offset, method in zip((-0.25, 0.0, 0.25), METHODS, strict=True):
        own = scores[scores["method"] == method].set_index("layer")
        for index, layer in enumerate(layers):
            if layer in own.index and math.isfinite(own.loc[layer, score]):
                _dot(axes, index + offset, own.loc[layer], score, method)
    values = scores[[score, "r2_lower", "r2_upper"]] if score == "r2" else scores[score]
    lowest, highest = np.nanmin([values.min(axis=None), 0]), np.nanmax([values.max(axis=None), 0.2])
    axes.set_xlim(max(_FLOOR, lowest) - 0.04, highest + 0.04)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, labelsize=TEXT)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


def _dot(axes: Any, place: float, row: Any, score: str, method: str) -> None:
    marker, colour = _STYLES[method]
    value = float(row[score])
    is_below = value < _FLOOR
    if is_below:
        marker = "<"
        away = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(number(value), (_FLOOR, place), fontsize=SMALL, **away)
    elif score == "r2" and method != "mean":
        ends = [max(_FLOOR, row["r2_lower"]), row["r2_upper"]]
        axes.plot(ends, [place, place], color=colour, linewidth=1.4)
    is_first = METHODS[method] not in axes.get_legend_handles_labels()[1]
    label = METHODS[method] if is_first else None
    x = max(value, _FLOOR)
    axes.plot(x, place, marker, color=colour, markersize=6.5, linestyle="none", label=label)
