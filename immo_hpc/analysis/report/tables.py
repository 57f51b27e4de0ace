"""Tables of the page, as text cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

from immo_hpc.analysis.report.conclusions import best_rival
from immo_hpc.analysis.report.content import ReportContent
from immo_hpc.analysis.report.figures.imputation import METHODS, TASKS
from immo_hpc.analysis.report.patterns import Patterns
from immo_hpc.analysis.report.text import UNDEFINED, bracketed, number
from immo_hpc.analysis.results import (
    ClassificationResult,
    ImputationResult,
    Interval,
)

_SOURCES = {
    "fused": "layers, latent",
    "latent": "latent",
    "raw": "raw",
    "baseline": "baseline",
}


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: What it holds, for people and screen readers.
        head: Column names.
        rows: Cells, one tuple a row, as long as ``head``.
        num_text: How many first columns hold words; the rest are figures, set to the right.
        strong: Rows to be set off, by place.
        note: A sentence below the table.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text: int = 1
    strong: frozenset[int] = frozenset()
    note: str = ""


def layer_table(content: ReportContent) -> Table:
    """Layers with their kind, features and samples."""
    counts = content.measured.sum(axis=0)
    rows = tuple(
        (
            name,
            content.kinds.get(name, UNDEFINED),
            _count(content.num_features.get(name)),
            f"{count:,}",
            f"{1 - count / max(content.num_samples, 1):.0%}",
        )
        for name, count in zip(content.layers, counts, strict=True)
    )
    return Table("Layers", ("layer", "kind", "features", "samples", "missing"), rows, num_text=2)


def split_table(content: ReportContent) -> Table | None:
    """Samples and people on each side of the split; None if nobody was held out."""
    if content.split is None:
        return None
    uses = {"train": "learning", "validation": "when to stop", "test": "every score below"}
    rows = []
    for side, use in uses.items():
        own = content.split == side
        cells = [side, use, f"{own.sum():,}"]
        if content.subjects is not None:
            cells.append(f"{content.subjects[own].nunique():,}")
        rows.append(tuple(cells))
    head = ("side", "used for", "samples", "people")
    return Table("Who was held out", head[: len(rows[0])], tuple(rows), num_text=2)


def pattern_table(
    content: ReportContent, patterns: Patterns, title: str = "Combinations of layers"
) -> Table:
    """Missing patterns with their samples, people and labels."""
    head = ["measured layers", "samples", "share"]
    head += [] if patterns.people is None else ["people"]
    rows: list[tuple[str, ...]] = []
    for place, has in enumerate(patterns.has):
        names = [name for name, there in zip(content.layers, has, strict=True) if there]
        count = int(patterns.samples[place])
        cells = [" + ".join(names) or "none", f"{count:,}", f"{count / content.num_samples:.0%}"]
        cells += [] if patterns.people is None else [f"{patterns.people[place]:,}"]
        rows.append((*cells, *(f"{value:,}" for value in patterns.labels[place])))
    return Table(title, (*head, *patterns.classes), tuple(rows))


def classification_table(result: ClassificationResult, unit: str, *, has_repeats: bool) -> Table:
    """Every classifier and baseline, the headline first."""
    place = {source: index for index, source in enumerate(_SOURCES)}
    scores = sorted(
        result.scores,
        key=lambda score: (
            not result.is_headline(score),
            place[score.source],
            -score.subject_auc.value if math.isfinite(score.subject_auc.value) else math.inf,
        ),
    )
    rival = best_rival(result)
    rows: list[tuple[str, ...]] = []
    for score in scores:
        title = score.title + (" · headline" if not rows else "")
        title += " · best without the latent" if score is rival else ""
        cells = (_SOURCES[score.source], bracketed(score.subject_auc), bracketed(score.sample_auc))
        rows.append((title, *cells, number(score.training_auc), number(score.sample_split_auc)))
    head = (
        "method",
        "input",
        f"AUC, {unit} held out",
        "AUC, their samples",
        "AUC inside training",
        "split by sample" + " (inflated)" * has_repeats,
    )
    strong = frozenset(i for i, score in enumerate(scores) if i == 0 or score is rival)
    note = (
        "In brackets the 95 % interval of the bootstrap over the held-out " + unit + ". Raw: the "
        "features themselves, missing values filled with the training average."
    )
    return Table("All methods", head, tuple(rows), num_text=2, strong=strong, note=note)


def count_table(result: ClassificationResult) -> Table:
    """Samples and people of each class on each side."""
    rows = tuple(
        (str(row["side"]), str(row["class"]), f"{row['samples']:,}", f"{row['subjects']:,}")
        for row in result.counts.to_dict(orient="records")
    )
    return Table("Who was classified", ("side", "label", "samples", "people"), rows, num_text=2)


def imputation_table(result: ImputationResult) -> Table:
    """Scores of every task, layer and method; the best R² of a layer is set off."""
    scores = result.scores.reset_index(drop=True)
    rows = tuple(
        (
            TASKS.get(row.task, row.task),
            row.layer,
            METHODS.get(row.method, row.method),
            bracketed(Interval(row.r2, row.r2_lower, row.r2_upper)),
            number(row.spearman),
            number(row.pearson),
            number(row.rmse),
            f"{int(row.num_values):,}",
        )
        for row in scores.itertuples()
    )
    best = scores["r2"].groupby([scores["task"], scores["layer"]], sort=False).idxmax()
    head = ("hidden", "layer", "method", "R²", "Spearman", "Pearson", "RMSE (z)", "values")
    note = (
        "The best R² of each layer is set in bold, in brackets its 95 % interval of the bootstrap "
        "over people; correlations are medians over features."
    )
    strong = frozenset(int(place) for place in best.dropna())
    return Table("Hide-and-score", head, rows, num_text=3, strong=strong, note=note)


def _count(value: int | None) -> str:
    return UNDEFINED if value is None else f"{value:,}"
