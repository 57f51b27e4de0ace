"""The summary on top of the page: a few numbers that matter most."""

from __future__ import annotations

from dataclasses import dataclass

from immo_hpc.analysis.report.conclusions import best_rival, rival_wins
from immo_hpc.analysis.report.content import ReportContent
from immo_hpc.analysis.report.text import is_known, method_title, number


@dataclass(frozen=True)
class Card:
    """One number of the summary with its name and what to know about it."""

    name: str
    value: str
    note: str = ""


def cards(content: ReportContent) -> list[Card]:
    """The summary in one line of numbers."""
    people = content.subjects
    repeats = (
        f"{content.num_samples / people.nunique():.1f} samples each" if people is not None else ""
    )
    found = [
        Card("samples", f"{content.num_samples:,}"),
        Card(
            "people",
            "not named" if people is None else f"{people.nunique():,}",
            repeats if content.has_repeats else "",
        ),
        Card("layers", str(len(content.layers)), ", ".join(content.layers)),
        Card("layer blocks missing", f"{content.missing_share:.0%}"),
    ]
    result = content.classification
    if result is None:
        return [*found, Card("held-out AUC", "none", "no classification")]
    auc = result.head.subject_auc
    spread = f"95 % interval {number(auc.lower)} to {number(auc.upper)}" if is_known(auc) else ""
    found.append(Card(f"AUC, {content.unit} held out", number(auc.value), spread))
    rival = best_rival(result)
    if rival is not None:
        answer = "yes" if rival_wins(result) else "no"
        note = f"{number(rival.subject_auc.value)} by {method_title(rival)}"
        found.append(Card("does a baseline win?", answer, note))
    return found
