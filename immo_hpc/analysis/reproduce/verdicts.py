"""By how much ours differs from the paper's, and why, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from immo_hpc.analysis.report.text import listed
from immo_hpc.analysis.reproduce.published import Published
from immo_hpc.analysis.reproduce.score_verdicts import auc_verdict, gain_verdict, layer_verdict


def subset_verdict(table: pd.DataFrame, facts: Published) -> tuple[str, ...]:
    """How many subsets have the paper's number of samples, and by how much others differ."""
    known = table[table["paper_samples"].notna()]
    gaps = {
        str(row["subset"]): int(row["samples"]) - int(row["paper_samples"])
        for row in known.to_dict(orient="records")
    }
    same = sum(gap == 0 for gap in gaps.values())
    told = f"{same} of {len(gaps)} subsets have exactly the paper's number of samples"
    if same == len(gaps):
        return (f"{told}.",)
    signs = {True: "+", False: "\N{MINUS SIGN}"}
    others = [f"{name} {signs[gap > 0]}{abs(gap)}" for name, gap in gaps.items() if gap]
    return (f"{told}; the others: {listed(others)}. {facts.count_reason}",)


def search_verdict(about: Mapping[str, Any], facts: Published) -> tuple[str, ...]:
    """What the search found, and what the paper's own objective would have taken."""
    if not about:
        return ()
    lines = [
        f"{about['trials']} rounds ({about['start']} fixed or spread points, then "
        f"{about['suggested']} that a Gaussian process suggested); the paper made "
        f"{facts.num_trials}. The objective is the same for every trial: the error on hidden "
        "values and hidden layers of held-out people."
    ]
    if about["paper_fixed"] is not None:
        gain = 1 - about["best_fixed"] / about["paper_fixed"]
        ahead = (
            f"the best round has {about['best_fixed']:.4f}, {gain:.1%} lower: "
            + ("the optimum is flat" if gain < 0.02 else "there are better settings on it")
            if gain > 0
            else "and no round was better"
        )
        lines.append(
            f"The paper's optimum has an error of {about['paper_fixed']:.4f} there; {ahead}."
        )
    if about["own_rank"] > 1:
        lines.append(
            f"By the paper's objective, the training loss under each round's own mask and weights, "
            f"another round wins, which is number {about['own_rank']} of {about['trials']} on the "
            f"fixed one ({about['own_fixed']:.4f}). Such losses do not compare between rounds: one "
            "with an easier mask or kinder weights wins, which may be how the paper came to 0.9."
        )
    return tuple(lines)


def mask_verdict(masks: pd.DataFrame) -> tuple[str, ...]:
    """Whether the dynamic mask does what Fig. 2 shows."""
    lines = []
    for by, rows in masks.groupby("by", sort=False) if len(masks) else ():
        row = {kind: rows[rows["kind"] == kind].iloc[0] for kind in ("dynamic", "static")}
        dynamic, static = row["dynamic"], row["static"]
        unit = "people" if by == "subject" else "samples"
        faster = "faster" if dynamic["fall"] > static["fall"] else "no faster"
        lines.append(
            f"With {unit} held out, the training loss falls {faster} with the dynamic mask: by "
            f"{dynamic['fall']:.1%} in 10 epochs against {static['fall']:.1%} (paper: "
            f"{dynamic['paper_fall']:.1%} against {static['paper_fall']:.1%}), and it trains for "
            f"{dynamic['epochs']:.0f} epochs against {static['epochs']:.0f} (paper: "
            f"{dynamic['paper_epochs']:.0f} against {static['paper_epochs']:.0f})."
        )
        gain = 1 - dynamic["held_out"] / static["held_out"]
        lines.append(
            f"On hidden values and layers of held-out {unit}, the same for both, the dynamic mask "
            + (
                f"ends {gain:.1%} lower ({dynamic['held_out']:.3f} against "
                f"{static['held_out']:.3f}): this much of its advantage is real."
                if gain > 0
                else f"ends no lower ({dynamic['held_out']:.3f} against {static['held_out']:.3f})."
            )
        )
    if lines:
        lines.append(
            "A training loss is measured under the mask of the training: a static mask shows the "
            "same values every epoch, so that they can be learnt by heart, and its loss says "
            "little of anything else. Batch size, patience and the width of the paper's network "
            "are not published; those here are the defaults."
        )
    return tuple(lines)


def feature_verdict(features: pd.DataFrame, facts: Published) -> tuple[str, ...]:
    """Where the features stand that the paper names."""
    if not len(features):
        return ()
    lines = []
    named = features[features["paper"].notna()]
    for item in facts.features:
        rows = named[(named["paper"] == item.title) & (named["layer"] == item.layer)]
        if len(rows):
            best = rows.sort_values("rank_in_layer").iloc[0]
            paper = "first in the paper" if item.rank == 1 else "named in the paper"
            lines.append(
                f"{item.title} ({paper}): {best['feature']} stands at place "
                f"{int(best['rank_in_layer'])} of {item.layer} here."
            )
    top = features[features["rank_in_layer"] <= 10]
    always = int((top["in_top"] == top["splits"]).sum())
    splits = int(top["splits"].max())
    if splits > 1:
        lines.append(
            f"Of {len(top)} features in our top tens, {always} stand there in every one of "
            f"{splits} splits"
            + (
                ": what a model rests on changes with the people it saw."
                if always < len(top)
                else "."
            )
        )
    else:
        lines.append("One split tells nothing of how stable these features are.")
    return (*lines, facts.feature_reason) if facts.feature_reason else tuple(lines)


def all_verdicts(tables: Mapping[str, Any], facts: Published) -> dict[str, tuple[str, ...]]:
    """Sentences by part.

    Args:
        tables: Tables of a `Reproduction` by the names of its attributes.
        facts: What the paper says.
    """
    return {
        "subsets": subset_verdict(tables["subsets"], facts),
        "search": search_verdict(tables["search_about"], facts),
        "masks": mask_verdict(tables["masks"]),
        "auc": auc_verdict(tables["auc"], tables["subsets"], facts),
        "gains": gain_verdict(tables["gains"], facts),
        "layers": layer_verdict(tables["layers"], facts),
        "features": feature_verdict(tables["features"], facts),
    }


def headline(verdicts: Mapping[str, Sequence[str]]) -> list[str]:
    """The first sentence of every part, and what is left of the AUCs with people held out."""
    return [line for part, lines in verdicts.items() for line in lines[: 2 if part == "auc" else 1]]
