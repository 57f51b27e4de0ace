"""Classification of people never seen, and beside it what a split by sample pretends."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from immo_hpc.analysis.report.figures.svg import (
    DASHES,
    INK,
    LEGEND_ROW,
    MUTED,
    PALETTE,
    SMALL,
    Panel,
    draw,
    shortened,
)
from immo_hpc.analysis.report.text import method_title, number, spelled_out
from immo_hpc.analysis.results import ClassificationResult, MethodScore, RocCurve

_SOURCES = {
    "fused": "layers and latent:",
    "latent": "on the latent:",
    "raw": "on the raw features:",
    "baseline": "baselines:",
}
_ROW = 20.0
# Room of a title by its number of lines, in rows.
_ROOM = {1: 1.0, 2: 1.55, 3: 2.15}


def classification_panels(
    result: ClassificationResult, unit: str, *, has_repeats: bool
) -> list[Panel]:
    """ROC of the headline classifier, and every method's AUC under both splits.

    Args:
        result: Held-out classification.
        unit: What is held out together, in the plural, such as ``people``.
        has_repeats: True if people gave several samples, so that a split by sample inflates.

    Returns:
        The panels ``roc`` (left out if the result has no curve) and ``auc``.
    """
    roc = _roc_panel(result, unit)
    return ([] if roc is None else [roc]) + [_auc_panel(result, unit, has_repeats)]


def _roc_panel(result: ClassificationResult, unit: str) -> Panel | None:
    curves = [curve for curve in result.curves if curve.level == "subject"]
    curves = [curve for curve in curves if np.isfinite(curve.true_positive).all()]
    curves.sort(
        key=lambda curve: (curve.name, curve.source) != (result.headline, result.headline_source)
    )
    if not curves:
        return None
    entries = [(curve, *_curve_label(result, curve)) for curve in curves]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate("chance", (0.72, 0.7), color=INK, fontsize=SMALL, rotation=36, va="top")
        for index, (curve, label, _) in enumerate(entries):
            colour, dashes = PALETTE[index], DASHES[index]
            if index == 0:
                x = curve.false_positive
                axes.fill_between(x, curve.lower, curve.upper, color=colour, alpha=0.18, lw=0)
            x, y = np.append(0, curve.false_positive), np.append(0, curve.true_positive)
            axes.plot(x, y, color=colour, linestyle=dashes, label=label)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.02)
        axes.grid()
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        figure.legend(loc="outside lower left", ncols=1, handlelength=2.6)

    alt = f"ROC curves over held-out {unit}: " + "; ".join(text for _, _, text in entries) + "."
    caption = (
        "Scores of one person's samples are averaged first. The band is the 95 % interval of the "
        f"first curve when the held-out {unit} are drawn anew with replacement."
    )
    svg = draw(
        "roc", alt, 300 + LEGEND_ROW * sum(1 + label.count("\n") for _, label, _ in entries), paint
    )
    return Panel("roc", f"ROC on held-out {unit}", svg, caption)


def _curve_label(result: ClassificationResult, curve: RocCurve) -> tuple[str, str]:
    try:
        score = result.score(curve.name, curve.source)
    except KeyError:
        return shortened(curve.name, 40), curve.name
    title = method_title(score)
    return (
        "\n".join(textwrap.wrap(f"{title}, AUC {number(score.subject_auc.value)}", 44)),
        f"{title}, AUC {spelled_out(score.subject_auc)}",
    )


def _auc_panel(result: ClassificationResult, unit: str, has_repeats: bool) -> Panel:
    rows: list[str | MethodScore] = []
    for source, heading in _SOURCES.items():
        methods = [score for score in result.scores if score.source == source]
        methods.sort(key=lambda score: -_or_zero(score.subject_auc.value))
        rows += [heading, *methods] if methods else []

    names = [row if isinstance(row, str) else "\n".join(_lines(row.title)) for row in rows]
    rooms = np.array([_ROOM[name.count("\n") + 1] for name in names])
    places = np.cumsum(rooms) - rooms / 2
    keys = (f"held-out {unit}, 95 % interval", "split by sample" + ": inflated" * has_repeats)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, entry in zip(places, rows, strict=True):
            if isinstance(entry, MethodScore):
                _draw_score(axes, float(place), entry, keys)
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_yticks(places, names, linespacing=1.0)
        for tick, entry in zip(axes.get_yticklabels(), rows, strict=True):
            is_headline = isinstance(entry, MethodScore) and result.is_headline(entry)
            tick.set(
                fontweight="bold" if is_headline else "normal",
                color=MUTED if isinstance(entry, str) else INK,
            )
        axes.set_ylim(places[-1] + rooms[-1] / 2, 0)
        axes.set_xlim(min([0.38, *_lowest(result)]), 1.02)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("AUC (0.5 = chance)")
        figure.legend(loc="outside lower left", ncols=1, handlelength=1.6)

    alt = f"AUC with held-out {unit}, and when samples are split at random: " + "; ".join(
        f"{method_title(score)} {number(score.subject_auc.value)} and "
        f"{number(score.sample_split_auc)}"
        for score in result.scores
    )
    warning = (
        ", so that visits of one person stand on both sides; this figure is inflated and stands "
        "here as a warning"
    )
    caption = (
        f"Filled dots and lines: held-out {unit} with 95 % interval. Open squares: the same "
        "method, scored by sample, when samples are split at random"
        f"{warning if has_repeats else ''}. In bold: the headline, chosen without the held-out "
        f"{unit}."
    )
    svg = draw("auc", alt, 84 + _ROW * float(rooms.sum()), paint)
    return Panel("auc", "Every method, split by person and by sample", svg, caption)


def _draw_score(axes: Any, place: float, score: MethodScore, keys: tuple[str, str]) -> None:
    is_first = not axes.get_legend_handles_labels()[0]
    auc = score.subject_auc
    if math.isfinite(auc.lower) and math.isfinite(auc.upper):
        axes.plot([auc.lower, auc.upper], [place, place], color=PALETTE[0], linewidth=1.6)
    label = keys[0] if is_first else None
    axes.plot(auc.value, place, "o", color=PALETTE[0], markersize=6, label=label)
    label = keys[1] if is_first else None
    style = {"markerfacecolor": "none", "markeredgecolor": PALETTE[1], "linestyle": "none"}
    axes.plot(score.sample_split_auc, place, "s", markersize=6, label=label, **style)


def _lowest(result: ClassificationResult) -> list[float]:
    values = [
        v for score in result.scores for v in (score.subject_auc.lower, score.subject_auc.value)
    ]
    return [max(0.0, value - 0.02) for value in values if math.isfinite(value)]


def _lines(title: str) -> list[str]:
    """A title on at most three short lines."""
    return textwrap.wrap(shortened(title, 70), 26, max_lines=3, placeholder="…")


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
