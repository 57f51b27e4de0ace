"""How training went: loss and held-out error by epoch, and what was hidden meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from immo_hpc.analysis.report.figures.svg import (
    DASHES,
    INK,
    LEGEND_ROW,
    MUTED,
    PALETTE,
    SMALL,
    Panel,
    draw,
    legend_columns,
    shortened,
)

_HEIGHT = 238.0
Curves = Mapping[str, Sequence[tuple[float, float]]]


def training_panels(metrics: Sequence[Mapping[str, Any]], best_epoch: int | None) -> list[Panel]:
    """Panels from the records of ``metrics.jsonl``; those without any value are left out.

    Args:
        metrics: One record an epoch, in order; absent keys are no error.
        best_epoch: Epoch (counted from 0) whose weights were kept, if known.

    Returns:
        Up to four panels: loss and held-out error, held-out error of hidden values and of
        hidden layers by layer, keep probability by layer.
    """
    loss = {
        "training loss": _series(metrics, "loss"),
        "validation error": _series(metrics, "validation"),
    }
    kept = {f"values of {names}": points for names, points in _merged(_by_layer(metrics, "keep"))}
    kept["whole layers"] = _series(metrics, "keep_layers")
    panels = [
        _panel(
            "training-loss",
            "Loss and validation error",
            "In squared z-score units: always answering with the average would give about 1. "
            "The validation samples are never learnt from; they decide when to stop.",
            "error (z-score²)",
            loss,
            best_epoch,
        ),
        _panel(
            "training-values",
            "Hidden values, by layer",
            "Error on single values of the validation samples that were hidden. Below 1 is better "
            "than the average of the training samples.",
            "error (z-score²)",
            _by_layer(metrics, "validation_values"),
            best_epoch,
        ),
        _panel(
            "training-layers",
            "Hidden layers, by layer",
            "Error when a whole layer of the validation samples was hidden and had to come from "
            "their other layers.",
            "error (z-score²)",
            _by_layer(metrics, "validation_layers"),
            best_epoch,
        ),
        _panel(
            "training-keep",
            "Keep probability",
            "Share of the measured values, and of the measured layers, that the model was "
            "shown while learning; the rest was hidden at random, anew in every epoch.",
            "probability",
            kept,
            best_epoch,
        ),
    ]
    return [panel for panel in panels if panel is not None]


def _panel(
    name: str, title: str, caption: str, unit: str, curves: Curves, best_epoch: int | None
) -> Panel | None:
    curves = {label: points for label, points in curves.items() if points}
    if not curves:
        return None

    labels = [shortened(label, 34) for label in curves]
    columns = legend_columns(labels)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, points in enumerate(curves.values()):
            x, y = zip(*points, strict=True)
            # Beyond six curves a colour comes again, with other dashes.
            dashes = DASHES[(index + index // 6) % 6]
            style: dict[str, Any] = {"color": PALETTE[index % 6], "linestyle": dashes}
            marker = "o" if len(points) == 1 else ""
            axes.plot(x, y, label=labels[index], marker=marker, **style)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate(
                f"kept: epoch {best_epoch}",
                (best_epoch, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                color=INK,
                fontsize=SMALL,
            )
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(axis="y")
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        if unit == "probability":
            axes.set_ylim(0, 1.04)
        figure.legend(loc="outside lower left", ncols=columns, handlelength=2.6)

    height = _HEIGHT + LEGEND_ROW * math.ceil(len(curves) / columns)
    ends = [
        f"{label} from {points[0][1]:.2f} to {points[-1][1]:.2f}"
        for label, points in curves.items()
    ]
    alt = (
        f"{title} over {max(len(points) for points in curves.values())} epochs: {'; '.join(ends)}."
    )
    return Panel(name, title, draw(name, alt, height, paint), caption)


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return _points((_epoch(record, index), record.get(key)) for index, record in enumerate(metrics))


def _by_layer(metrics: Sequence[Mapping[str, Any]], key: str) -> Curves:
    layers = dict.fromkeys(name for record in metrics for name in record.get(key) or {})
    return {
        layer: _points(
            (_epoch(record, index), (record.get(key) or {}).get(layer))
            for index, record in enumerate(metrics)
        )
        for layer in layers
    }


def _merged(curves: Curves) -> list[tuple[str, Sequence[tuple[float, float]]]]:
    """Curves that are the same become one, which names them all."""
    names: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for name, points in curves.items():
        names.setdefault(tuple(points), []).append(name)
    return [(", ".join(same), points) for points, same in names.items()]


def _epoch(record: Mapping[str, Any], place: int) -> float:
    """Epoch of a record, or its place in the file where it does not say."""
    return float(record.get("epoch", place))


def _points(pairs: Any) -> list[tuple[float, float]]:
    return [(x, float(y)) for x, y in pairs if y is not None and math.isfinite(float(y))]
