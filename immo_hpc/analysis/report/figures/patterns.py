"""Which layers were measured together: missing patterns as rows of dots and bars.

An UpSet plot turned on its side, so that it grows downwards and stays legible in a
narrow column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from immo_hpc.analysis.report.figures.svg import (
    INK,
    LEGEND_ROW,
    MUTED,
    OTHER,
    PALETTE,
    PAPER,
    SMALL,
    TEXT,
    Panel,
    draw,
    shortened,
)
from immo_hpc.analysis.report.patterns import Patterns

_ROW = 25.0
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----")


def pattern_panel(patterns: Patterns, layers: Sequence[str]) -> Panel:
    """Dots for the layers of each missing pattern, bars for its samples, split by label.

    Args:
        patterns: What to draw, all of it.
        layers: Names of the layers.

    Returns:
        The panel ``patterns``.
    """
    longest = max(len(shortened(name, 14)) for name in layers)
    rows = (len(patterns.classes) + 2) // 2 if patterns.classes else 0
    height = 70 + 6.6 * longest + _ROW * len(patterns) + LEGEND_ROW * rows

    def paint(figure: Figure) -> None:
        dots_width = 24 * len(layers)
        widths = [dots_width, max(120, 330 - dots_width)]
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=widths)
        _dots(left, patterns, layers)
        _bars(right, patterns)
        if patterns.classes:
            columns = 1 if max(len(name) for name in patterns.classes) > 22 else 2
            figure.legend(
                loc="outside lower right", ncols=columns, handlelength=1.4, columnspacing=1.2
            )

    shown = [name for name, has in zip(layers, patterns.has[0], strict=True) if has]
    alt = (
        f"{len(patterns)} combinations of {len(layers)} layers. The most frequent one is "
        f"{' and '.join(shown) or 'no layer at all'}, with {patterns.samples[0]:,} samples."
    )
    caption = (
        "Each row is one combination of layers: a filled dot means measured, an open ring means "
        "not measured. The bar counts the samples"
        + (", split by label." if patterns.classes else ".")
    )
    return Panel("patterns", "Measured together", draw("patterns", alt, height, paint), caption)


def _dots(axes: Any, patterns: Patterns, layers: Sequence[str]) -> None:
    for row, pattern in enumerate(patterns.has):
        has, lacks = np.flatnonzero(pattern), np.flatnonzero(~pattern)
        if len(has) > 1:
            axes.plot(has[[0, -1]], [row, row], color=INK, linewidth=2)
        axes.plot(has, [row] * len(has), "o", color=INK, markersize=8)
        ring = {"color": MUTED, "markerfacecolor": PAPER, "markersize": 7}
        axes.plot(lacks, [row] * len(lacks), "o", **ring)
    axes.set_xlim(-0.6, len(layers) - 0.4)
    axes.set_ylim(len(patterns) - 0.5, -0.5)
    axes.xaxis.tick_top()
    labels = [shortened(name, 14) for name in layers]
    # Long names stand upright: slanted ones would push the bars away.
    if max(len(label) for label in labels) > 6:
        axes.set_xticks(range(len(layers)), labels, rotation=90)
    else:
        axes.set_xticks(range(len(layers)), labels, rotation=50, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=TEXT)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _bars(axes: Any, patterns: Patterns) -> None:
    rows = np.arange(len(patterns))
    start = np.zeros(len(patterns), dtype=np.int64)
    for name, count, colour, hatch in zip(
        patterns.classes, patterns.labels.T, PALETTE, _HATCHES, strict=False
    ):
        label = f"{shortened(name, 30)} ({count.sum():,})"
        axes.barh(
            rows, count, 0.62, start, color=colour, hatch=hatch, edgecolor=PAPER, lw=0, label=label
        )
        start += count
    rest = patterns.samples - start
    if rest.any():
        label = f"no label ({rest.sum():,})"
        colour = OTHER if patterns.classes else PALETTE[0]
        axes.barh(rows, rest, 0.62, start, color=colour, label=label)
    for row, count in enumerate(patterns.samples):
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{count:,}", (count, row), fontsize=SMALL, **place)
    axes.set_xlim(0, patterns.samples.max() * 1.2)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("samples")
