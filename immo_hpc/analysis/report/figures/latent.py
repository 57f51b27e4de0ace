"""The latent space on paper: its two main directions, coloured three ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from immo_hpc.analysis.report.figures.svg import (
    LEGEND_ROW,
    MARKERS,
    OTHER,
    PALETTE,
    Panel,
    draw,
    shortened,
)

MOST_COLOURS = len(PALETTE)


@dataclass(frozen=True)
class Plane:
    """Samples in the plane of the two main directions of the latent space.

    Attributes:
        points: ``(sample, 2)``, float64, latent units.
        shares: Share of the latent variance along each direction, 0 to 1.
    """

    points: NDArray[np.float64]
    shares: tuple[float, float]


def main_plane(latent: NDArray[np.floating[Any]]) -> Plane:
    """Project onto the first two principal components.

    Args:
        latent: ``(sample, latent)``, finite.

    Returns:
        The plane; each direction points to where its largest loading is positive, and a
        direction that does not exist (one latent dimension, one sample) is 0.
    """
    centred = np.asarray(latent, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(-variances)[:2]
    directions, variances = directions[:, order], np.clip(variances, 0, None)
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(len(order))])
    points = np.zeros((len(centred), 2))
    points[:, : len(order)] = centred @ (directions * signs)
    shares = np.zeros(2)
    shares[: len(order)] = variances[order] / (variances.sum() or 1.0)
    return Plane(points, (float(shares[0]), float(shares[1])))


def latent_panel(name: str, title: str, plane: Plane, groups: pd.Series, *, noun: str) -> Panel:
    """The plane coloured by ``groups``; the largest groups get a colour, the rest is grey.

    Args:
        name: Unique in the page.
        title: Heading of the panel.
        plane: Where the samples are.
        groups: Group of each sample as text, ``(sample,)``, None where unknown.
        noun: What a group is, in the plural, such as ``people``.

    Returns:
        The panel.
    """
    counts = groups.dropna().astype(str).value_counts(sort=False)
    counts = counts.sort_index().sort_values(ascending=False, kind="stable")
    shown = list(counts.index[:MOST_COLOURS])
    num_other = len(counts) - len(shown)
    values = groups.astype(object).where(groups.notna(), None).to_numpy()

    rest = np.array([value is None or str(value) not in shown for value in values])

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        if rest.any():
            text = f"other {noun}" if num_other else "not known" if shown else "samples"
            _scatter(axes, plane.points[rest], OTHER, ".", f"{text} ({rest.sum():,})", alpha=0.45)
        for group, colour, marker in zip(shown, PALETTE, MARKERS, strict=False):
            own = np.array([value is not None and str(value) == group for value in values])
            label = f"{shortened(group, 20)} ({own.sum():,})"
            _scatter(axes, plane.points[own], colour, marker, label, alpha=0.75)
        axes.set_xlabel(f"component 1 ({plane.shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"component 2 ({plane.shares[1]:.0%})")
        axes.set_xticks([])
        axes.set_yticks([])
        # Directions of one space: a step means the same along both.
        axes.set_aspect("equal", adjustable="datalim")
        legend = figure.legend(
            loc="outside lower left", ncols=2, handletextpad=0.3, columnspacing=1.0, markerscale=1.5
        )
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(alpha=1, rasterized=False)

    largest = ", ".join(f"{group} with {counts[group]} samples" for group in shown)
    alt = f"Map of {len(values)} samples: {largest or 'one colour'}."
    caption = f"{len(counts):,} {noun}." if shown else "One point a sample."
    if num_other:
        caption = (
            f"The {len(shown)} {noun} with the most samples have a colour and a shape; the other "
            f"{num_other:,} are grey."
        )
    num_entries = len(shown) + bool(rest.any())
    height = 290 + LEGEND_ROW * ((num_entries + 1) // 2)
    return Panel(name, title, draw(name, alt, height, paint), caption)


def _scatter(
    axes: Any, points: NDArray[np.float64], colour: str, marker: str, label: str, *, alpha: float
) -> None:
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=16,
        c=colour,
        marker=marker,
        label=label,
        alpha=alpha,
        linewidths=0,
        rasterized=True,
    )
