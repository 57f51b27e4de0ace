"""A comparison in words: who is ahead, and whether that is more than chance."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from immo_hpc.analysis.compare.measure import UNION

_TASKS = {
    "layers": "hidden layer",
    "values": "hidden values of",
    "revisited": "hidden at one visit: layer",
}


def verdicts(label_scores: pd.DataFrame, imputation: pd.DataFrame) -> tuple[str, ...]:
    """One sentence a table: the best simple method, and the best other one beside it."""
    lines = []
    if len(label_scores):
        for (missing, part), rows in label_scores.groupby(["missing", "part"], sort=False):
            where = "all samples" if part == UNION else f"samples that have {part}"
            lines.append(_sentence(rows, f"Label, {where}{_under(missing)}", "auc", "AUC", 3))
    if len(imputation):
        groups = imputation.groupby(["missing", "task", "layer"], sort=False)
        for (missing, task, layer), rows in groups:
            what = f"{_TASKS[str(task)].capitalize()} {layer}{_under(missing)}"
            lines.append(_sentence(rows, what, "r2", "R²", 3))
    return tuple(lines)


def _under(missing: Any) -> str:
    return "" if missing == "none" else f" ({missing})"


def _sentence(rows: pd.DataFrame, what: str, measure: str, name: str, digits: int) -> str:
    reference = rows[rows["is_reference"]]
    others = rows[rows["family"] != "simple"].dropna(subset=[measure])
    best = others.loc[others[measure].idxmax()] if len(others) else None
    if not len(reference):
        return f"{what}: no simple method was compared."
    bar = reference.iloc[0]
    told = f"{what}: the best simple method is {bar['title']} ({name} {bar[measure]:.{digits}f})"
    if best is None:
        return f"{told}."
    gap = _gap(best)
    of = f"{best['title']} ({best[measure]:.{digits}f}, difference {gap})"
    if best["difference"] == 0:
        return f"{told}; {best['title']} does the same."
    if best["difference"] < 0:
        surely = "" if best["upper"] < 0 else ", within chance"
        return f"{told}, and it wins{surely}: the best other method is {of}."
    if best["lower"] > 0:
        return f"{told}; {of} is better."
    return f"{told}; {of} is ahead within chance."


def _gap(row: pd.Series) -> str:
    value = f"{row['difference']:+.3f}"
    if math.isfinite(row["lower"]) and math.isfinite(row["upper"]):
        value += f" [{row['lower']:+.3f}, {row['upper']:+.3f}]"
    return value
