"""Pictures of a comparison: one row a method, the best simple one as a line."""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.figure import Figure

from immo_hpc.analysis.report.figures.svg import MARKERS, MUTED, PALETTE, Panel, draw, shortened
from immo_hpc.analysis.report.text import number

_ROW = 30.0
_FAMILIES = {"simple": "simple method", "peer": "another tool's method", "immo": "IMMO"}


def method_panel(name: str, title: str, rows: pd.DataFrame, measure: str, axis: str) -> Panel:
    """Mean and standard deviation over splits of each method, best first.

    Args:
        name: Unique in the page.
        title: Heading.
        rows: Rows of one table of `Comparison`.
        measure: 'auc' or 'r2'.
        axis: Its name with what is good.
    """
    rows = rows[rows[measure].notna()].sort_values(measure, ascending=False)
    labels = ["\n".join(textwrap.wrap(shortened(str(text), 60), 27)) for text in rows["title"]]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(rows))
        for index, (family, meaning) in enumerate(_FAMILIES.items()):
            own = [p for p in places if rows["family"].iloc[p] == family]
            if not own:
                continue
            values, spread = rows[measure].iloc[own], rows[f"{measure}_sd"].iloc[own].fillna(0)
            colour = PALETTE[index]
            axes.hlines(own, values - spread, values + spread, color=colour, linewidth=1.6)
            axes.plot(values, own, MARKERS[index], color=colour, markersize=6, label=meaning)
        for value in rows.loc[rows["is_reference"], measure]:
            axes.axvline(value, color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
        axes.set_yticks(list(places), labels, linespacing=1.0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        # One method that is far off must not press all others together.
        low = min(rows[measure].max() - 0.5, 0.45) if measure == "auc" else -0.15
        axes.set_xlim(max(low, _lowest(rows, measure)), None)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel(axis)
        figure.legend(loc="outside lower left", ncols=1, handlelength=1.6)

    alt = f"{axis}: " + "; ".join(
        f"{title} {number(value)}"
        for title, value in zip(rows["title"], rows[measure], strict=True)
    )
    caption = (
        "Mean and standard deviation over the splits; the dashed line is the best simple method, "
        "picked after the fact. Values far below are cut off."
    )
    svg = draw(name, alt, 110 + _ROW * len(rows), paint)
    return Panel(name, title, svg, caption)


def _lowest(rows: pd.DataFrame, measure: str) -> float:
    low = float((rows[measure] - rows[f"{measure}_sd"].fillna(0)).min())
    return low - 0.02 if math.isfinite(low) else -math.inf
