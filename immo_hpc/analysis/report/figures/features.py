"""The features that a classifier leans on most, layer by layer, with their direction."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from immo_hpc.analysis.report.figures.svg import (
    INK,
    OTHER,
    PALETTE,
    PAPER,
    SMALL,
    TEXT,
    Panel,
    draw,
    shortened,
)
from immo_hpc.analysis.report.text import class_title
from immo_hpc.analysis.results import AttributionResult

# Direction: sign beside the name, colour, hatch.
_STYLES = {1: ("▲", PALETTE[1], ""), -1: ("▼", PALETTE[0], "////"), 0: ("", OTHER, "")}
_MOST = 10
_ROW = 34.0


def feature_panels(result: AttributionResult) -> list[Panel]:
    """One panel a layer: its top features as bars, the largest first.

    Args:
        result: Attributions.

    Returns:
        The panels ``features-1``, ``features-2``, ... in the order of the layers' shares; all
        have one scale, so that layers can be compared.
    """
    top = result.features[result.features["rank_in_layer"] <= min(result.top, _MOST)]
    largest = float(top["mean_abs"].max()) if len(top) else 1.0
    layers = result.layers.sort_values("share", ascending=False)
    panels = []
    for number, layer in enumerate(layers.itertuples(), start=1):
        own = top[top["layer"] == layer.layer].sort_values("rank_in_layer")
        if len(own):
            caption = (
                f"{layer.share:.0%} of all attribution; {layer.num_samples:,} samples have this "
                "layer."
            )
            panels.append(_panel(f"features-{number}", layer.layer, own, largest, caption))
    return panels


def direction_words(result: AttributionResult) -> dict[int, str]:
    """What the sign of a feature means, by direction (+1, -1, 0), in a few words.

    Example:
        >>> from types import SimpleNamespace
        >>> direction_words(SimpleNamespace(label="ibd", classes=("0", "1")))[-1]
        'higher values point to ibd=0'
    """
    if len(result.classes) == 2:
        low, high = (class_title(result.label, name) for name in result.classes)
        up, down = f"higher values point to {high}", f"higher values point to {low}"
    else:
        up = "higher values point to the sample's own class"
        down = "higher values point away from the sample's own class"
    return {1: up, -1: down, 0: "no direction"}


def _panel(name: str, layer: str, rows: pd.DataFrame, largest: float, caption: str) -> Panel:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows.itertuples()):
            sign, colour, hatch = _STYLES[int(row.direction)]
            axes.barh(
                place + 0.2, row.mean_abs, 0.34, color=colour, hatch=hatch, edgecolor=PAPER, lw=0
            )
            # The name stands above its bar: long names need the whole width.
            text = f"{sign} {shortened(row.feature, 44)}".strip()
            axes.text(0, place - 0.06, text, va="bottom", fontsize=SMALL, color=INK)
        axes.set_ylim(len(rows) - 0.35, -0.6)
        axes.set_xlim(0, largest * 1.02)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize=SMALL)
        axes.set_xlabel("mean |attribution|", fontsize=TEXT)
        axes.grid(axis="x")

    best = ", ".join(f"{row.feature} ({row.mean_abs:.3g})" for row in rows.head(3).itertuples())
    alt = f"Top {len(rows)} features of layer {layer}; the largest are {best}."
    return Panel(name, layer, draw(name, alt, 48 + _ROW * len(rows), paint), caption)
