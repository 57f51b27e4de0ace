"""Conclusions about the features a classifier leans on."""

from __future__ import annotations

from immo_hpc.analysis.report.conclusions.statement import Conclusions
from immo_hpc.analysis.results import AttributionResult, ClassificationResult

# Share of the scores that attributions may fail to account for without a word.
_COMPLETENESS = 0.05


def about_attribution(
    result: AttributionResult, classification: ClassificationResult | None
) -> Conclusions:
    """What top features are good for."""
    may_not = [
        "The top features are associations that the classifier uses in this cohort, not causes."
    ]
    if not result.randomised.passed:
        may_not.append(
            "A model with random weights names much the same features, so their ranks say little "
            "about what was learnt."
        )
    if result.completeness_error > _COMPLETENESS:
        may_not.append(
            f"The attributions miss {result.completeness_error:.0%} of the scores they should "
            "add up to; read them as a rough order."
        )
    headline = None if classification is None else classification.head
    if headline is not None and not headline.subject_auc.lower > 0.5:
        may_not.append("They explain a classifier that is not shown to be better than chance.")
        return Conclusions((), tuple(may_not))
    may = "The top features are candidates worth checking in an independent cohort."
    return Conclusions((may,), tuple(may_not))
