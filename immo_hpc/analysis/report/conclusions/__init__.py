"""What may and may not be concluded, in plain words that follow the numbers."""

from __future__ import annotations

from immo_hpc.analysis.report.conclusions.attribution import about_attribution
from immo_hpc.analysis.report.conclusions.classification import (
    about_classes,
    about_inflation,
    about_rivals,
    best_rival,
    rival_wins,
)
from immo_hpc.analysis.report.conclusions.data import about_data, about_missingness, about_subjects
from immo_hpc.analysis.report.conclusions.imputation import about_imputation
from immo_hpc.analysis.report.conclusions.statement import Conclusions
from immo_hpc.analysis.report.content import ReportContent

__all__ = ["Conclusions", "best_rival", "conclude", "rival_wins"]


def conclude(content: ReportContent) -> Conclusions:
    """Say what the numbers of ``content`` support and what they do not."""
    parts = [about_data(content), about_missingness(content), about_subjects(content)]
    if content.classification is not None:
        parts += [
            about_classes(content.classification, content.unit),
            about_rivals(content.classification, content.unit),
            about_inflation(content.classification, has_repeats=content.has_repeats),
        ]
    else:
        parts.append(Conclusions((), ("Nothing can be said about telling people apart by label.",)))
    if content.imputation is not None:
        parts.append(about_imputation(content.imputation, content.unit))
    else:
        parts.append(Conclusions((), ("How well missing values are filled in was not tested.",)))
    if content.attribution is not None:
        parts.append(about_attribution(content.attribution, content.classification))
    return Conclusions(
        tuple(sentence for part in parts for sentence in part.may),
        tuple(sentence for part in parts for sentence in part.may_not),
    )
