"""What a comparison returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from immo_hpc.analysis.jsonable import fields


@dataclass(frozen=True)
class Comparison:
    """Every method on the same splits, the same hidden values and the same resamples.

    Means and standard deviations are over splits. A difference is that of a method to the
    reference, the best simple method by its mean over the splits; its 95 % interval is that
    of the paired bootstrap over subjects. Picked after the fact, the reference is favoured.

    Attributes:
        cohort: Name of the cohort.
        label: Column that was classified; None if nothing was.
        classes: Its values, the positive one last of two.
        num_splits: Splits by subject.
        num_subjects: Subjects of the cohort.
        patterns: Patterns of missingness put on top, as typed.
        label_scores: One row a pattern, part and method. ``part`` is 'all' (every labelled
            test sample) or a layer (test samples that have it). Columns: ``missing``,
            ``part``, ``method``, ``title``, ``family``, ``splits``, ``auc`` (subject level),
            ``auc_sd``, ``is_reference``, ``difference``, ``lower``, ``upper``; in part 'all'
            also ``brier``, ``calibration_error`` and ``calibration_slope`` over all splits.
        imputation: One row a pattern, task, layer and method. Columns ``missing``, ``task``,
            ``layer``, ``method``, ``title``, ``family``, ``splits``, ``rmse`` (z-score units),
            ``rmse_ratio`` (to that of the training mean), ``r2``, ``r2_sd``, ``pearson``,
            ``spearman`` (medians over features), ``is_reference``, and the ``difference`` in R²
            with ``lower`` and ``upper``.
        cost: One row a method: ``seconds`` (a split, mean; all tasks), ``learn_seconds``,
            ``peak_mb`` (above the program and the data, most over splits).
        failures: One row a failed fit: ``missing``, ``split``, ``method``, ``reason``.
        verdicts: Who is ahead, in words; first where a simple method wins.
        notices: What a reader must know, as sentences.
    """

    cohort: str
    label: str | None
    classes: tuple[str, ...]
    num_splits: int
    num_subjects: int
    patterns: tuple[str, ...]
    label_scores: pd.DataFrame
    imputation: pd.DataFrame
    cost: pd.DataFrame
    failures: pd.DataFrame
    verdicts: tuple[str, ...]
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return fields(self)
