"""Conclusions about what was measured, and of whom."""

from __future__ import annotations

from immo_hpc.analysis.report.conclusions.statement import Conclusions
from immo_hpc.analysis.report.content import ReportContent
from immo_hpc.analysis.report.patterns import measured_share_by_label
from immo_hpc.analysis.report.text import spelled_out
from immo_hpc.analysis.results import ClassificationResult, MethodScore

# Differences smaller than this are not worth a sentence.
_MISSINGNESS = 0.10
# Shares among fewer samples than this are left to chance.
_FEW_SAMPLES = 20


def about_data(content: ReportContent) -> Conclusions:
    """How much was measured, and that every sample has a place."""
    people = content.subjects
    of = f" of {people.nunique():,} people" if people is not None else ""
    sentence = (
        f"All {content.num_samples:,} samples{of} have a place in one common space, although "
        f"{content.missing_share:.0%} of the layer blocks were never measured."
    )
    return Conclusions((sentence,), ())


def about_missingness(content: ReportContent) -> Conclusions:
    """Whether what was measured goes with the label."""
    shares = measured_share_by_label(content, fewest=_FEW_SAMPLES)
    if len(shares) < 2:
        return Conclusions((), ())
    gaps = shares.max() - shares.min()
    layer = str(gaps.idxmax())
    high, low = str(shares[layer].idxmax()), str(shares[layer].idxmin())
    numbers = (
        f"layer {layer} was measured in {shares.loc[high, layer]:.0%} of the {high} samples and in "
        f"{shares.loc[low, layer]:.0%} of the {low} samples"
    )
    pattern = _layers_only(content.classification)
    tells = pattern is not None and pattern.subject_auc.lower > 0.5
    if gaps[layer] >= _MISSINGNESS or tells:
        told = ""
        if pattern is not None and tells:
            auc = spelled_out(pattern.subject_auc)
            told = f", and which layers exist, alone, gives an AUC of {auc}"
        sentence = (
            f"What was measured goes with the label ({numbers}{told}), so part of any difference "
            "between the groups may be study design."
        )
        return Conclusions((), (sentence,))
    return Conclusions((f"What was measured hardly depends on the label: at most, {numbers}.",), ())


def _layers_only(result: ClassificationResult | None) -> MethodScore | None:
    scores = () if result is None else result.scores
    return next((score for score in scores if score.name == "layers_only"), None)


def about_subjects(content: ReportContent) -> Conclusions:
    """Whether people were kept apart when samples were held out."""
    if content.is_shared:
        sentence = (
            "Some people stand on the training and on the test side, so every score here is "
            "inflated: split by subject for one that holds for new people."
        )
    elif content.subjects is None:
        sentence = (
            "No subject column was named, so every sample counts as a person of its own. If some "
            "people gave several samples, every score here is inflated."
        )
    else:
        return Conclusions((), ())
    return Conclusions((), (sentence,))
