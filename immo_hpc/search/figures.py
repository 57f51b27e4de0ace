"""Pictures of a search, drawn as those of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from immo_hpc.analysis.report.figures.svg import (
    INK,
    MUTED,
    OTHER,
    PALETTE,
    SMALL,
    Panel,
    draw,
    shortened,
)
from immo_hpc.search.dimension import Dimension, Value
from immo_hpc.search.study import Ledger, Plan
from immo_hpc.search.study.standing import Confirmed, front

_HEIGHT = 238.0
_ROW = 20.0
_LONGEST = 26


def history_panel(plan: Plan, ledger: Ledger) -> Panel:
    """Value of each complete trial in the order they were made, and the best so far."""
    done = [
        (trial.number, (result.values or (0.0,))[0])
        for trial, result in ledger.finished("complete")
    ]
    numbers, values = (np.array(column) for column in zip(*done, strict=True))
    is_min = plan.directions[0] == "minimize"
    best = (np.minimum if is_min else np.maximum).accumulate(values)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(numbers, values, "o", color=OTHER, markersize=4, label="trial")
        axes.step(numbers, best, where="post", color=PALETTE[0], label="best so far")
        axes.set_xlabel("trial")
        axes.set_ylabel(plan.objectives[0])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(axis="y")
        # A few that diverged must not hide what the others differ by.
        low, high = np.percentile(values, [0, 95] if is_min else [5, 100])
        pad = 0.08 * (high - low) or 0.1
        axes.set_ylim(low - pad, high + pad)
        axes.legend()

    alt = f"{plan.objectives[0]} over {len(done)} trials: best {best[-1]:.4g}."
    caption = "Values beyond the 95 % of the better trials lie outside the picture."
    return Panel("history", "How the search went", draw("history", alt, _HEIGHT, paint), caption)


def importance_panel(shares: Mapping[str, float]) -> Panel:
    """Importance of each key."""
    names = [shortened(key, _LONGEST) for key in shares]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.barh(names[::-1], list(shares.values())[::-1], color=PALETTE[0], height=0.6)
        axes.set_xlabel("importance")

    alt = "Importance: " + ", ".join(f"{key} {share:.2f}" for key, share in shares.items()) + "."
    caption = "PED-ANOVA: how much each key alone separates the best trials from all of them."
    height = 70 + _ROW * len(names)
    return Panel(
        "importance", "Which keys mattered", draw("importance", alt, height, paint), caption
    )


def contour_panel(plan: Plan, ledger: Ledger, keys: Sequence[str]) -> Panel | None:
    """The first objective over two keys; None where fewer than four trials spread over both."""
    by_key = {dimension.key: dimension for dimension in plan.space.dimensions}
    chosen = [by_key[key] for key in keys if key in by_key and by_key[key].kind != "choice"][:2]
    if len(chosen) < 2:
        return None
    points = [
        (*(trial.params[item.key] for item in chosen), (result.values or (0.0,))[0])
        for trial, result in ledger.finished("complete")
        if all(item.key in trial.params for item in chosen)
    ]
    x, y, z = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    if min(len(np.unique(x)), len(np.unique(y))) < 4:
        return None
    z = np.clip(z, *np.percentile(z, [0, 90] if plan.directions[0] == "minimize" else [10, 100]))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        scaled = [np.log10(v) if d.log else v for v, d in zip((x, y), chosen, strict=True)]
        drawn = axes.tricontourf(*scaled, z, levels=10, cmap="viridis")
        axes.plot(*scaled, "o", color=INK, markersize=2.5)
        names = [("log10 " if d.log else "") + shortened(d.key, _LONGEST) for d in chosen]
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        figure.colorbar(drawn, ax=axes, label=plan.objectives[0])

    alt = f"{plan.objectives[0]} over {chosen[0].key} and {chosen[1].key}, {len(points)} trials."
    caption = "Interpolated between the trials (dots); the other keys vary as well."
    return Panel("contour", "The two that mattered most", draw("contour", alt, 270, paint), caption)


def parallel_panel(plan: Plan, ledger: Ledger) -> Panel:
    """Every complete trial as a line across the searched keys, the best tenth set off."""
    dimensions = plan.space.dimensions
    done = list(ledger.finished("complete"))
    sign = 1.0 if plan.directions[0] == "minimize" else -1.0
    order = np.argsort([-sign * (result.values or (0.0,))[0] for _, result in done])
    num_best = max(1, len(done) // 10)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(dimensions))
        for rank, index in enumerate(order):
            line = [_place(item, done[index][0].params.get(item.key)) for item in dimensions]
            is_best = rank >= len(done) - num_best
            colour, width = (PALETTE[1], 1.6) if is_best else (OTHER, 0.6)
            axes.plot(line, places, color=colour, linewidth=width, alpha=1.0 if is_best else 0.45)
        axes.set_yticks(list(places), [shortened(item.key, _LONGEST) for item in dimensions])
        axes.set_xticks([0, 1], ["low", "high"])
        axes.invert_yaxis()
        axes.grid(axis="y")

    best = done[int(order[-1])][0].params
    alt = f"Parallel coordinates of {len(done)} trials; the best: {best}."
    caption = (
        f"Each line is a trial; the best {num_best} in colour. Each key runs from the lower to "
        "the upper end of its range, on its own scale."
    )
    height = 80 + _ROW * len(dimensions)
    return Panel(
        "parallel", "Where the best trials lie", draw("parallel", alt, height, paint), caption
    )


def seeds_panel(plan: Plan, judged: Sequence[Confirmed]) -> Panel | None:
    """The best trials over seeds; None if they were trained on one alone."""
    shown = [item for item in judged if len(item.values) > 1]
    if not shown:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, item in enumerate(shown):
            axes.plot(item.values, [row] * len(item.values), "o", color=PALETTE[0], markersize=4)
            axes.plot([item.mean], [row], "D", color=PALETTE[1], markersize=7)
        axes.set_yticks(range(len(shown)), [f"trial {item.trial.number}" for item in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(plan.objectives[0])
        axes.grid(axis="x")

    alt = "; ".join(f"trial {item.trial.number}: mean {item.mean:.4g}" for item in shown) + "."
    caption = "One dot a seed, the mean as a diamond. Training noise is the spread within a row."
    height = 80 + 1.4 * _ROW * len(shown)
    return Panel("seeds", "The best over seeds", draw("seeds", alt, height, paint), caption)


def front_panel(plan: Plan, ledger: Ledger) -> Panel | None:
    """The first two of several objectives, the Pareto front set off."""
    if len(plan.directions) < 2:
        return None
    every = np.array([result.values for _, result in ledger.finished("complete")])
    best = np.array([result.values for _, result in front(ledger, plan.directions)])

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(every[:, 0], every[:, 1], "o", color=OTHER, markersize=4, label="trial")
        axes.plot(best[:, 0], best[:, 1], "D", color=PALETTE[1], markersize=6, label="front")
        axes.set_xlabel(plan.objectives[0])
        axes.set_ylabel(plan.objectives[1])
        axes.tick_params(colors=MUTED, labelsize=SMALL)
        axes.legend()

    alt = f"{len(every)} trials, {len(best)} of them on the Pareto front."
    caption = "No trial is better than one of the front in one objective without a loss in another."
    return Panel("front", "Pareto front", draw("front", alt, _HEIGHT, paint), caption)


def _place(dimension: Dimension, value: Value) -> float:
    """Place of a value between the ends of its dimension; NaN where it has none."""
    if value is None:
        return float("nan")
    if dimension.kind == "choice":
        return dimension.choices.index(value) / max(1, len(dimension.choices) - 1)
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.log:
        return float(np.log(value / dimension.low) / np.log(dimension.high / dimension.low))
    return float((value - dimension.low) / (dimension.high - dimension.low))
