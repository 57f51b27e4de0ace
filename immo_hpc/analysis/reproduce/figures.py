"""Pictures of a reproduction: the paper's figure and ours in one drawing."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from immo_hpc.analysis.report.figures.svg import (
    DASHES,
    LEGEND_ROW,
    MARKERS,
    MUTED,
    PALETTE,
    Panel,
    draw,
)
from immo_hpc.analysis.report.text import number

_ROW = 34.0
_WAYS = {"sample": "split by sample", "subject": "people held out"}


def curve_panels(curves: pd.DataFrame) -> tuple[Panel, ...]:
    """Fig. 2: training loss and fixed held-out error by epoch, dynamic and static mask."""
    panels = []
    for column, title in (("loss", "Training loss"), ("held_out", "Fixed held-out error")):

        def paint(figure: Figure, column: str = column) -> None:
            axes = figure.add_subplot()
            for index, ((by, kind), own) in enumerate(curves.groupby(["by", "kind"], sort=False)):
                label = f"{kind}, {_WAYS[str(by)]}"
                axes.plot(
                    own["epoch"], own[column], color=PALETTE[index], linestyle=DASHES[index],
                    label=label,
                )  # fmt: skip
            axes.set_xlabel("epoch")
            axes.set_ylabel("relative to epoch 1")
            axes.grid(axis="y")
            figure.legend(loc="outside lower left", ncols=1, handlelength=2.6)

        ends = "; ".join(
            f"{kind}, {_WAYS[str(by)]}: {number(float(own[column].min()))} at its lowest"
            for (by, kind), own in curves.groupby(["by", "kind"], sort=False)
        )
        svg = draw(f"masks-{column}", f"{title} by epoch: {ends}.", 250 + 4 * LEGEND_ROW, paint)
        caption = "Relative to the first epoch; mean over splits, as long as all of them trained."
        panels.append(Panel(f"masks-{column}", f"{title}, relative", svg, caption))
    return tuple(panels)


def auc_panel(auc: pd.DataFrame) -> Panel:
    """Table 5 at a glance: the classifiers of each subset, published, by sample and by person."""
    rows = [
        (name, "published" if name == "paper" else _WAYS[name])
        for name in ("paper", "sample", "subject")
        if name in auc and auc[name].notna().any()
    ]
    return _dots(
        "auc", "AUC of the latent by subset", auc, rows,
        "The mean over classifiers as a mark, lowest and highest as a line.",
    )  # fmt: skip


def gain_panel(auc: pd.DataFrame) -> Panel:
    """Figs. 3 and 4 at a glance: latent and raw features, both ways of splitting."""
    rows = [
        (column, f"{source}, {_WAYS[by]}")
        for by in ("sample", "subject")
        for column, source in ((by, "latent"), (f"{by}_raw", "raw"))
        if column in auc
    ]
    return _dots(
        "gains", "Latent and raw features by subset", auc, rows,
        "The mean over classifiers as a mark, lowest and highest as a line.",
    )  # fmt: skip


def layer_panel(layers: pd.DataFrame) -> Panel:
    """Fig. 5: AUC by number of layers, means over the sets of as many."""
    ways = [
        (name, label)
        for name, label in (("paper", "published"), *_WAYS.items())
        if name in layers and layers[name].notna().any()
    ]
    means = layers.groupby("num_layers")[[name for name, _ in ways]].mean().astype(float)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, (name, label) in enumerate(ways):
            (line,) = axes.plot(means.index, means[name], color=PALETTE[index], label=label)
            line.set(marker=MARKERS[index], linestyle=DASHES[index])
        axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_xticks(list(means.index))
        axes.set_xlabel("layers shown")
        axes.set_ylabel("AUC (0.5 = chance)")
        axes.invert_xaxis()
        axes.grid(axis="y")
        figure.legend(loc="outside lower left", ncols=1, handlelength=2.6)

    told = "; ".join(
        f"{label}: "
        + ", ".join(f"{number(value)} with {count}" for count, value in means[name].items())
        for name, label in ways
    )
    svg = draw("layers", f"AUC by number of layers. {told}.", 250 + 3 * LEGEND_ROW, paint)
    caption = "The neural net on samples that have every layer; means over the sets of as many."
    return Panel("layers", "Layers taken away", svg, caption)


def _dots(
    name: str, title: str, auc: pd.DataFrame, columns: list[tuple[str, str]], caption: str
) -> Panel:
    subsets = list(dict.fromkeys(auc["subset"]))
    room = 1.0 / (len(columns) + 1)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, (column, label) in enumerate(columns):
            for place, subset in enumerate(subsets):
                values = auc.loc[auc["subset"] == subset, column].dropna().astype(float)
                if len(values):
                    y = place + (index - (len(columns) - 1) / 2) * room
                    colour, mark = PALETTE[index], MARKERS[index]
                    axes.hlines(y, values.min(), values.max(), color=colour, linewidth=1.6)
                    key = label if label not in axes.get_legend_handles_labels()[1] else None
                    axes.plot([values.mean()], [y], mark, color=colour, markersize=5, label=key)
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_yticks(range(len(subsets)), subsets)
        axes.set_ylim(len(subsets) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("AUC (0.5 = chance)")
        figure.legend(loc="outside lower left", ncols=1, handlelength=1.6)

    told = "; ".join(
        f"{label} {number(float(auc[column].astype(float).mean()))}" for column, label in columns
    )
    height = 84 + _ROW * len(subsets) + LEGEND_ROW * len(columns)
    svg = draw(name, f"{title}. Means over all: {told}.", height, paint)
    return Panel(name, title, svg, caption)
