"""What the AUCs say beside the paper's, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from immo_hpc.analysis.report.text import number
from immo_hpc.analysis.reproduce.published import Published

# A difference of AUCs below this is not spoken of: splits differ by more.
_SAME = 0.02
# By so much more an AUC by sample measures something else than one by person.
_INFLATED = 0.1


def compared(what: str, paper: float, ours: float) -> str:
    """Ours beside the paper's, with the difference.

    Example:
        >>> compared("The AUC", 0.93, 0.96), compared("The AUC", 0.93, 0.935)
        ('The AUC is 0.96, 0.03 above the published 0.93.', 'The AUC is 0.94, as published (0.93).')
    """
    gap = ours - paper
    if not math.isfinite(gap):
        return f"{what} could not be measured here (published: {number(paper)})."
    if abs(gap) < _SAME:
        return f"{what} is {number(ours)}, as published ({number(paper)})."
    side = "above" if gap > 0 else "below"
    return f"{what} is {number(ours)}, {number(abs(gap))} {side} the published {number(paper)}."


def auc_verdict(auc: pd.DataFrame, subsets: pd.DataFrame, facts: Published) -> tuple[str, ...]:
    """By sample ours against the paper's; by person what is left of it."""
    if not len(auc) or "sample" not in auc:
        return ()
    lines = []
    known = auc.dropna(subset=["paper", "sample"])
    if len(known):
        gap = (known["sample"] - known["paper"]).astype(float)
        close = int((gap.abs() <= 0.05).sum())
        worst = known.loc[gap.abs().idxmax()]
        lines.append(
            f"Split by sample, {close} of {len(known)} AUCs are within .05 of the paper's; ours "
            f"are {number(gap.mean(), sign=True)} on average, and the largest difference is "
            f"{worst['title']} on {worst['subset']} ({number(worst['sample'])} against "
            f"{number(worst['paper'])})."
        )
    elif facts.best_auc is not None:
        best = auc.loc[auc["sample"].astype(float).idxmax()]
        what = f"Split by sample, the highest AUC ({best['title']} on {best['subset']})"
        lines.append(compared(what, facts.best_auc, float(best["sample"])))
    if "subject" in auc:
        lines += _by_person(auc, subsets)
    lines.append(
        "The paper does not say how its classifiers were set, nor whether its model had seen the "
        "samples they are tested on; here neither model nor setting has."
    )
    return tuple(lines)


def _by_person(auc: pd.DataFrame, subsets: pd.DataFrame) -> list[str]:
    known = auc.dropna(subset=["subject"])
    chance = (known["subject_lower"] <= 0.5) & (known["subject_upper"] >= 0.5)
    below = int((known["subject_upper"] < 0.5).sum())
    few = subsets[["negative_subjects", "positive_subjects"]].min(axis=1)
    is_inflated = auc["sample"].mean() - known["subject"].mean() > _INFLATED
    why = (
        ": visits of one person resemble each other, and a split by sample mostly measures whether "
        "the person is recognised"
        if is_inflated
        else ""
    )
    lines = [
        f"With whole people held out, the same model and classifiers reach "
        f"{number(known['subject'].min())} to {number(known['subject'].max())} "
        f"({number(known['subject'].mean())} on average against {number(auc['sample'].mean())} by "
        f"sample), and chance (0.5) lies inside {int(chance.sum())} of {len(known)} "
        f"intervals{why}.",
        f"The smaller group has {int(few.min())} to {int(few.max())} people by subset, a quarter "
        "of whom are held out at a time, so the intervals are wide.",
    ]
    if below:
        lines.append(
            f"{below} intervals lie below 0.5. With so few people of a group, those held out are "
            "those that its training side lacks, which can turn scores round; it is no knowledge."
        )
    return lines


def gain_verdict(gains: pd.DataFrame, facts: Published) -> tuple[str, ...]:
    """In how many subsets the latent is better than the raw features."""
    lines = []
    for by, way in (("sample", "Split by sample"), ("subject", "With people held out")):
        if f"{by}_gain" not in gains:
            continue
        rows = gains.dropna(subset=[f"{by}_gain"])
        better = int((rows[f"{by}_gain"] > 0).sum())
        surely = int((rows[f"{by}_lower"] > 0).sum())
        worse = int((rows[f"{by}_upper"] < 0).sum())
        told = (
            f"{way}, the latent is ahead of the raw features in {better} of {len(rows)} subsets "
            f"(mean over classifiers), beyond chance in {surely}, and behind beyond chance in "
            f"{worse}"
        )
        if by == "sample" and facts.latent_better is not None:
            told += f"; the paper: in {facts.latent_better[0]} of {facts.latent_better[1]}"
        lines.append(f"{told}.")
    lines.append(
        "The paper does not say how it filled and scaled raw features; here missing values are at "
        "the training mean, and each classifier's setting is chosen for either input by itself."
    )
    return tuple(lines)


def layer_verdict(layers: pd.DataFrame, facts: Published) -> tuple[str, ...]:
    """Whether more layers give a higher AUC."""
    if not len(layers):
        return ()
    lines = []
    for by, way in (("sample", "Split by sample"), ("subject", "With people held out")):
        if by in layers:
            mean = layers.groupby("num_layers")[by].mean().sort_index(ascending=False)
            told = ", ".join(f"{number(value)} with {count}" for count, value in mean.items())
            best = layers.loc[layers[by].astype(float).idxmax()]
            lines.append(
                f"{way}, on samples that have every layer: {told} (means over the sets); best is "
                f"{best['shown'].replace('+', ' + ')} ({number(float(best[by]))})."
            )
    if facts.layers_left:
        told = ", ".join(f"{value:.3f} with {n}" for n, value in facts.layers_left.items())
        table = facts.paper_auc(facts.subsets[0].name, "neural_net")
        lines.append(
            f"The paper has {told}. Its own Table 5 has {table:.3f} for the first of these, so it "
            "must have been measured in another way, which is not told; here one model sees "
            "fewer layers of the same samples."
        )
    return tuple(lines)
