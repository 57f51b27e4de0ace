"""How far intervals of imputed values keep their promise, for the page."""

from __future__ import annotations

import pandas as pd

from immo_hpc.analysis.coverage import CoverageResult
from immo_hpc.analysis.report.figures.imputation import TASKS
from immo_hpc.analysis.report.tables import Table

_TASKS = {**TASKS, "revisited": "whole layer that another visit has"}


def coverage_table(result: CoverageResult, unit: str) -> Table:
    """Measured beside promised coverage of every task and layer, and the width it costs.

    Args:
        result: What was measured.
        unit: What is held out together, in the plural, such as ``people``.
    """
    levels = sorted(result.intervals["nominal"].unique())
    rows = []
    at = ["visits", "task", "layer"]
    for (visits, task, layer), own in result.intervals.groupby(at, sort=False):
        by_level = own.set_index("nominal")
        cells = [_cell(by_level.loc[level]) for level in levels]
        words = _TASKS[str(task)] + (" (other visits used)" if visits else "")
        rows.append((words, str(layer), *cells))
    head = ("hidden", "layer", *(f"promised {level:.0%}" for level in levels))
    note = (
        f"Share of the hidden values of held-out {unit} within their interval, in brackets its "
        f"95 % interval of the bootstrap over {unit}, then the mean width in standard deviations "
        f"of the training data. The promise is about all values of new {unit} together, not about "
        "one person, one sample or one feature."
    )
    return Table("Do intervals hold what they promise?", head, tuple(rows), num_text=2, note=note)


def coverage_notes(result: CoverageResult, unit: str) -> tuple[str, ...]:
    """A sentence on samples of held-out people that are taken to be far."""
    far = result.far
    return (
        f"Of the samples of held-out {unit}, {far.value:.1%} ({far.lower:.1%} to {far.upper:.1%}) "
        f"are taken to be far from the training data; {result.far_nominal:.0%} is meant. What such "
        "samples lack is not imputed unless asked for.",
    )


def _cell(row: pd.Series) -> str:
    share = f"{row['coverage']:.0%} [{row['lower']:.0%}, {row['upper']:.0%}]"
    return f"{share}, width {row['width']:.2f}"
