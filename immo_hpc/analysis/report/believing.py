"""Tables and sentences on how far an attribution can be believed."""

from __future__ import annotations

import math

import pandas as pd

from immo_hpc.analysis.report.figures.features import direction_words
from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.report.text import UNDEFINED, bracketed, number
from immo_hpc.analysis.results import AttributionResult

_MOST_EXCLUDED = 12


def feature_table(result: AttributionResult, title: str = "Top features in full") -> Table:
    """The top features of every layer with their names in full, and how stable they are."""
    words = direction_words(result)
    stable = "top_share" in result.features
    networks = "retrained_top_share" in result.features
    head = ["layer", "feature", "direction", "rank", "mean |attribution|", "share"]
    head += ["rank in refits", "in the top", "same direction"] if stable else []
    head += ["in the top, networks"] if networks else []
    rows = []
    used = result.top_features[result.top_features["mean_abs"] > 0]
    for row in used.sort_values(["layer", "rank_in_layer"]).itertuples():
        cells = [row.layer, row.feature, words[int(row.direction)], str(int(row.rank))]
        cells += [f"{row.mean_abs:.3g}", f"{row.share:.1%}"]
        if stable:
            cells += [f"{row.mean_rank:.1f} ± {row.rank_sd:.1f}"]
            cells += [f"{row.top_share:.0%}", f"{row.sign_agreement:.0%}"]
        if networks:
            cells += [f"{row.retrained_top_share:.0%}"]
        rows.append(tuple(cells))
    note = ""
    if stable and result.stability is not None:
        note = (
            f"Rank in refits: within the layer, mean ± standard deviation over "
            f"{result.stability.num_refits} refits ({result.stability.kind}); in the top: share of "
            f"them that have it among the top {result.top}."
        )
    return Table(title, tuple(head), tuple(rows), num_text=3, note=note)


def trust_table(result: AttributionResult) -> Table:
    """Share, stability and need of every layer."""
    columns: dict[str, dict[str, str]] = {"share of the attribution": _shares(result.layers)}
    if result.stability is not None:
        columns["stability, people"] = _numbers(result.stability.layers, "index")
    if result.retrained is not None:
        columns["stability, networks"] = _numbers(result.retrained.layers, "index")
    if result.permutation is not None:
        table = result.permutation.layers
        columns["rank correlation with permutation"] = _numbers(table, "spearman")
        columns["top features needed"] = {
            str(row.layer): f"{row.top_needed} of {row.top}" for row in table.itertuples()
        }
    rows = tuple(
        (name, *(own.get(name, UNDEFINED) for own in columns.values()))
        for name in result.layers["layer"].astype(str)
    )
    note = (
        "Share: in brackets the 95 % interval of the bootstrap over people. Stability of the top "
        "features: 1 = the same in every refit, 0 = as alike as by chance. Needed: on held-out "
        "people, exchanging the feature between them makes the predictions worse."
    )
    title = f"How far to believe it: {result.explained}"
    return Table(title, ("layer", *columns), rows, note=note)


def exclusion_table(result: AttributionResult) -> Table | None:
    """Top features with and without what the user excluded; None if nothing was."""
    found = result.exclusion
    if found is None:
        return None
    rows = tuple(
        (str(row.layer), str(row.rank), row.all or UNDEFINED, row.without or UNDEFINED)
        for row in found.top.astype(object).where(found.top.notna(), None).itertuples()
    )
    names = [f"{row.layer}:{row.feature}" for row in found.features.itertuples()]
    shown = ", ".join(names[:_MOST_EXCLUDED]) + (", ..." if len(names) > _MOST_EXCLUDED else "")
    note = (
        f"Excluded: {len(names)} features ({shown or 'none'}), which had "
        f"{found.features['share'].sum():.1%} of the attribution. AUC by person with them "
        f"{bracketed(found.auc_all)}, without {bracketed(found.auc_without)}, difference "
        f"{bracketed(found.difference)}."
    )
    title = f"With and without excluded features: {result.explained}"
    return Table(title, ("layer", "rank", "all features", "without"), rows, num_text=4, note=note)


def trust_notes(result: AttributionResult) -> list[str]:
    """Sentences on sanity, completeness and the classifier."""
    notes = [
        f"Sanity check, {result.explained}. {result.randomised.message}",
        f"Completeness: the attributions add up to the classifier's scores within "
        f"{max(result.completeness_error, 0.001):.1%}{_worst(result)}.",
    ]
    if math.isfinite(result.training_auc):
        held_out = result.held_out_auc
        also = "" if held_out is None else f", and of {bracketed(held_out)} on held-out people"
        notes.append(
            f"The explained classifier ({result.explained}) has an AUC of "
            f"{number(result.training_auc)} by cross-validation inside the training data{also}: "
            "that much there is to explain."
        )
    return notes


def _worst(result: AttributionResult) -> str:
    if not math.isfinite(result.completeness_max):
        return ""
    return f" on average, {max(result.completeness_max, 0.001):.1%} at worst"


def _shares(layers: pd.DataFrame) -> dict[str, str]:
    if "share_lower" not in layers:
        return {str(row.layer): f"{row.share:.0%}" for row in layers.itertuples()}
    return {
        str(row.layer): f"{row.share:.0%} [{row.share_lower:.0%}, {row.share_upper:.0%}]"
        for row in layers.itertuples()
    }


def _numbers(table: pd.DataFrame, column: str) -> dict[str, str]:
    return {
        str(layer): number(float(value))
        for layer, value in zip(table["layer"], table[column], strict=True)
    }
