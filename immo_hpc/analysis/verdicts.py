"""What the numbers say, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from immo_hpc.analysis.results import Interval, MethodScore, Source


def classification_verdict(
    scores: Sequence[MethodScore],
    headline: tuple[str, Source],
    difference: Interval,
    *,
    num_subjects: int,
    are_unseen: bool,
) -> str:
    """Whether a simple baseline classifies unseen subjects better than the headline.

    Args:
        scores: Every method.
        headline: Its name and source.
        difference: Its subject-level AUC minus that of late fusion.
        num_subjects: Number of test subjects.
        are_unseen: False if some of them stand on the training side too.
    """
    ours = next(s for s in scores if (s.name, s.source) == headline)
    fusion = next(s for s in scores if s.name == "late_fusion")
    what = "the latent" if ours.source == "latent" else "the model"
    lines = [
        f"On {num_subjects} {'unseen' if are_unseen else 'partly known'} subjects {what} "
        f"({ours.title}) reaches an AUC of {ours.subject_auc}, and a logistic "
        f"regression per layer, averaged, {fusion.subject_auc}: {_compared(difference)}"
    ]
    ahead = [
        f"{s.title} on {'the raw features' if s.source == 'raw' else 'the layers'} "
        f"({s.subject_auc.value:.2f})"
        for s in sorted(scores, key=lambda s: -s.subject_auc.value)
        if s.source not in ("latent", "fused") and s.subject_auc.value > ours.subject_auc.value
    ]
    if ahead:
        lines.append(
            f"Of the methods that do without the latent, {len(ahead)} stand above it here, "
            f"first {ahead[0]}; picked after the fact, this favours them."
        )
    else:
        lines.append("No method that does without the latent stands above it here.")
    if ours.subject_auc.lower <= 0.5 <= ours.subject_auc.upper:
        lines.append("Chance (0.5) lies inside its interval.")
    lines.append(
        f"Sample by sample its AUC is {ours.sample_auc.value:.2f}; split by sample instead of "
        f"by subject it would show {ours.sample_split_auc:.2f}."
    )
    return " ".join(lines)


def _compared(difference: Interval) -> str:
    told = f"difference {difference.value:+.2f} [{difference.lower:+.2f}, {difference.upper:+.2f}]"
    if difference.lower > 0:
        return f"the model is better ({told})."
    if difference.upper < 0:
        return f"the simple baseline is better ({told})."
    if difference.value < 0:
        return f"the simple baseline is ahead, within chance ({told})."
    if difference.value > 0:
        return f"the model is ahead, within chance ({told})."
    return f"neither is ahead ({told})."


def imputation_verdict(scores: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Where the model foretells hidden values better than ridge and the mean, and where not.

    Args:
        scores: `ImputationResult.scores`.
        differences: `ImputationResult.differences`.
    """
    lines = []
    for task, what in (("layers", "Hidden layers"), ("values", "Hidden values")):
        r2 = scores[scores["task"] == task].pivot(index="layer", columns="method", values="r2")
        told = [
            _imputed(str(row.layer), r2.loc[row.layer], row)
            for row in differences[differences["task"] == task].itertuples()
        ]
        if told:
            lines.append(f"{what}: {'; '.join(told)}.")
    lines.append("R² is taken against the training mean, on test subjects; below 0 is worse.")
    return " ".join(lines)


def _imputed(layer: str, r2: pd.Series, difference: Any) -> str:
    told = f"{layer} R² {r2['immo']:.3f} (ridge {r2['ridge']:.3f})"
    if r2["immo"] <= 0:
        return f"{told}, no better than the mean"
    if difference.lower > 0:
        return f"{told}, better than ridge"
    if difference.upper < 0:
        return f"{told}, ridge is better"
    return f"{told}, {'ahead of' if difference.r2 > 0 else 'behind'} ridge within chance"
