"""A comparison as one HTML file that needs nothing else, in the dress of the report."""

from __future__ import annotations

import math
import re
from importlib import resources
from typing import Any

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from immo_hpc._version import __version__
from immo_hpc.analysis.compare.figures import method_panel
from immo_hpc.analysis.compare.measure import UNION
from immo_hpc.analysis.compare.results import Comparison
from immo_hpc.analysis.report.cards import Card
from immo_hpc.analysis.report.sections import Section
from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.report.text import UNDEFINED, class_title, listed

_TASKS = {
    "layers": "layer hidden whole",
    "values": "single values hidden",
    "revisited": "layer hidden at one visit",
}


def render_comparison(comparison: Comparison, config: str) -> str:
    """The page as HTML text; the same comparison gives the same text.

    Args:
        comparison: What to show.
        config: The configuration, YAML.
    """
    report = "immo_hpc.analysis.report"
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("immo_hpc.analysis.compare", "."), PackageLoader(report, ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files(report).joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        name=comparison.cohort,
        cards=_cards(comparison),
        verdicts=comparison.verdicts,
        sections=_sections(comparison),
        config=config,
        # Ours: the only markup that is not escaped besides the drawings.
        style=Markup(style),
        version=__version__,
    )


def _cards(comparison: Comparison) -> list[Card]:
    return [
        Card("methods", str(len(comparison.cost))),
        Card("splits by person", str(comparison.num_splits)),
        Card("people", str(comparison.num_subjects)),
        Card("missingness", ", ".join(comparison.patterns), "on top of the cohort's own"),
    ]


def _sections(comparison: Comparison) -> list[Section]:
    sections = []
    for missing in comparison.patterns:
        under = "" if missing == "none" else f", with {missing}"
        scores = _under(comparison.label_scores, missing)
        if len(scores):
            sections.append(_label_section(comparison, scores, missing, under))
        imputation = _under(comparison.imputation, missing)
        if len(imputation):
            sections.append(_imputation_section(imputation, missing, under))
    failed = tuple(
        f"{row.method}, split {row.split}, {row.missing}: {row.reason}"
        for row in comparison.failures.itertuples()
    )
    notes = (*comparison.notices, *failed)
    return [*sections, Section("cost", "What it costs", tables=(_cost(comparison),), notes=notes)]


def _label_section(
    comparison: Comparison, scores: pd.DataFrame, missing: str, under: str
) -> Section:
    panels, tables = [], []
    titles = [class_title(str(comparison.label), name) for name in comparison.classes]
    for part, rows in scores.groupby("part", sort=False):
        what = "all samples" if part == UNION else f"samples that have {part}"
        name = f"label-{_anchor(f'{missing}-{part}')}"
        panels.append(method_panel(name, f"AUC, {what}", rows, "auc", "AUC by person"))
        tables.append(_label_table(rows, f"AUC by person, {what}"))
    lead = (
        f"Telling {listed(titles)} apart on people held out; scores are averaged within a "
        "person. Every choice was made inside the training people.",
    )
    title = f"The label{under}"
    return Section(f"label-{_anchor(missing)}", title, lead, tuple(panels), tuple(tables))


def _imputation_section(imputation: pd.DataFrame, missing: str, under: str) -> Section:
    panels, tables = [], []
    for (task, layer), rows in imputation.groupby(["task", "layer"], sort=False):
        name = f"{task}-{_anchor(f'{missing}-{layer}')}"
        title = f"{layer}, {_TASKS[str(task)]}"
        panels.append(method_panel(name, title, rows, "r2", "R² on held-out people"))
        tables.append(_imputation_table(rows, title))
    lead = ("R² is taken against the training mean, which scores 0; below 0 is worse.",)
    title = f"What is hidden{under}"
    return Section(f"hidden-{_anchor(missing)}", title, lead, tuple(panels), tuple(tables))


def _label_table(rows: pd.DataFrame, title: str) -> Table:
    head = ["method", "AUC ± sd", "difference to the best simple method"]
    with_calibration = "brier" in rows and bool(rows["brier"].notna().any())
    head += ["Brier", "calibration error", "slope"] * with_calibration
    cells = []
    for row in _ranked(rows, "auc"):
        own = [row["title"], _spread(row, "auc"), _difference(row)]
        if with_calibration:
            own += [_cell(row[name]) for name in ("brier", "calibration_error")]
            own.append(_cell(row["calibration_slope"], 2))
        cells.append(tuple(own))
    return Table(title, tuple(head), tuple(cells), strong=_strong(rows, "auc"))


def _imputation_table(rows: pd.DataFrame, title: str) -> Table:
    head = (
        "method",
        "R² ± sd",
        "difference to the best simple method",
        "RMSE / mean's",
        "Pearson",
        "Spearman",
    )
    cells = tuple(
        (
            row["title"],
            _spread(row, "r2"),
            _difference(row),
            *(_cell(row[name]) for name in ("rmse_ratio", "pearson", "spearman")),
        )
        for row in _ranked(rows, "r2")
    )
    return Table(title, head, cells, strong=_strong(rows, "r2"))


def _cost(comparison: Comparison) -> Table:
    rows = tuple(
        (
            str(row["title"]),
            _cell(row["seconds"], 1),
            _cell(row["learn_seconds"], 1),
            _cell(row["peak_mb"], 0),
        )
        for row in comparison.cost.to_dict(orient="records")
    )
    head = ("method", "seconds a split", "of these to learn", "peak memory, MB")
    note = (
        "Each method ran in a process of its own. Memory is what it took beyond the program and "
        "the data; seconds are wall time, on a machine that may have had other work."
    )
    return Table("Time and memory", head, rows, note=note)


def _under(table: pd.DataFrame, missing: str) -> pd.DataFrame:
    return table[table["missing"] == missing] if len(table) else table


def _ranked(rows: pd.DataFrame, measure: str) -> list[dict[str, Any]]:
    ordered = rows.sort_values(measure, ascending=False, na_position="last")
    return [{str(key): value for key, value in row.items()} for row in ordered.to_dict("records")]


def _strong(rows: pd.DataFrame, measure: str) -> frozenset[int]:
    return frozenset(i for i, row in enumerate(_ranked(rows, measure)) if row["is_reference"])


def _spread(row: dict[str, Any], measure: str) -> str:
    told, sd = _cell(row[measure]), row[f"{measure}_sd"]
    # Of one split there is none.
    return f"{told} ± {_cell(sd)}" if math.isfinite(sd) else told


def _difference(row: dict[str, Any]) -> str:
    if row["is_reference"]:
        return "the reference"
    values = [
        _cell(row.get(name, math.nan), sign=True) for name in ("difference", "lower", "upper")
    ]
    return f"{values[0]} [{values[1]}, {values[2]}]"


def _cell(value: Any, digits: int = 3, *, sign: bool = False) -> str:
    if not isinstance(value, float) or not math.isfinite(value):
        return UNDEFINED
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _anchor(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text)
