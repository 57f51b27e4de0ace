"""Conclusions about telling classes apart."""

from __future__ import annotations

import math

from immo_hpc.analysis.report.conclusions.statement import Conclusions
from immo_hpc.analysis.report.text import (
    class_title,
    is_known,
    listed,
    method_title,
    number,
    spelled_out,
)
from immo_hpc.analysis.results import ClassificationResult, MethodScore

# Fewer held-out people of a class than this make an AUC a rough one (standard error > 0.1).
_FEW_PEOPLE = 10
# Differences smaller than this are not worth a sentence.
_INFLATION = 0.05


def best_rival(result: ClassificationResult) -> MethodScore | None:
    """The best method without the latent, by AUC over held-out people; None if there is none."""
    rivals = [
        score
        for score in result.scores
        if score.source not in ("latent", "fused") and math.isfinite(score.subject_auc.value)
    ]
    return max(rivals, key=lambda score: score.subject_auc.value, default=None)


def rival_wins(result: ClassificationResult) -> bool:
    """True if some method without the latent reaches a higher AUC than the headline."""
    rival = best_rival(result)
    own = result.head.subject_auc.value
    return rival is not None and not rival.subject_auc.value <= own


def about_classes(result: ClassificationResult, unit: str) -> Conclusions:
    """Whether held-out ``unit`` are told apart better than by chance, and how surely."""
    score = result.head
    auc = score.subject_auc
    test = result.counts[result.counts["side"] == "test"]
    counts = zip(test["class"], test["subjects"], strict=True)
    titles = [class_title(result.label, name) for name in result.classes]
    people = listed([f"{count} {class_title(result.label, name)}" for name, count in counts])
    told = (
        f"On held-out {unit} ({people}), {method_title(score)} tells "
        f"{listed(titles)} apart with an AUC of {spelled_out(auc)}"
    )
    may: list[str] = []
    may_not: list[str] = []
    if auc.lower > 0.5:
        may.append(f"{told}: better than chance.")
    elif math.isfinite(auc.value):
        may_not.append(f"{told}: chance (0.5) is not excluded.")
    else:
        may_not.append(f"The AUC on held-out {unit} is undefined ({people}): too few of a class.")
    fewest = min((int(count) for count in test["subjects"]), default=0)
    if math.isfinite(auc.value) and fewest < _FEW_PEOPLE:
        may_not.append(
            f"With only {fewest} held-out {unit} in the smallest class, the AUC is a rough "
            "estimate: do not rank methods or studies by it."
        )
    return Conclusions(tuple(may), tuple(may_not))


def about_rivals(result: ClassificationResult, unit: str) -> Conclusions:
    """Whether it takes the latent to do so."""
    rival, difference = best_rival(result), result.difference
    may: list[str] = []
    may_not: list[str] = []
    if rival is not None:
        named = f"{method_title(rival)} ({number(rival.subject_auc.value)})"
        if rival_wins(result):
            may.append(
                f"Without the latent, the best on these {unit} was: {named}. It was picked after "
                "the fact, which flatters it, but for prediction alone try it first."
            )
            may_not.append("The latent is not shown to improve classification.")
        else:
            may.append(f"No method without the latent did better here; the nearest was: {named}.")
    if is_known(difference):
        told = (
            f"{method_title(result.head)} minus late fusion (one model a layer, averaged) "
            f"{spelled_out(difference, sign=True)}"
        )
        if difference.lower > 0:
            may.append(f"The latent is better than late fusion: {told}.")
        elif difference.upper < 0:
            may_not.append(f"The latent is worse than a simple baseline: {told}.")
        else:
            may_not.append(f"Whether the latent or a simple baseline is better is open: {told}.")
    return Conclusions(tuple(may), tuple(may_not))


def about_inflation(result: ClassificationResult, *, has_repeats: bool) -> Conclusions:
    """Whether a split by sample would have promised more."""
    score = result.head
    # Both over samples: averaging within people is another gain, not this one.
    inflated, honest = score.sample_split_auc, score.sample_auc.value
    if not has_repeats or not (math.isfinite(inflated) and math.isfinite(honest)):
        return Conclusions((), ())
    if inflated - honest >= _INFLATION:
        sentence = (
            f"Do not quote the {number(inflated)} of a split by sample (the samples of held-out "
            f"people give {number(honest)}): visits of one person then stand on both sides, so "
            "recognising people passes for recognising the label."
        )
        return Conclusions((), (sentence,))
    sentence = (
        f"A split by sample promises hardly more here ({number(inflated)}, against "
        f"{number(honest)} for the samples of held-out people)."
    )
    return Conclusions((sentence,), ())
