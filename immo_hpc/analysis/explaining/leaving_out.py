"""The explained classifier with and without features that the user excluded.

Without means: their values count as not measured, for training and for held-out people, and the
classifier is chosen and fitted again. The network has learnt to do without values, since
training hides them; its weights saw the features all the same, so the strict answer is a set of
shards prepared without them (``preparation.exclude``), or retraining (`explain`'s ``--refit``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import (
    Ranked,
    by_subject,
    draw_subjects,
    interval,
    macro_auc,
    resampled_auc,
)
from immo_hpc.analysis.explaining.explained import Explained
from immo_hpc.analysis.explaining.results import ExclusionResult
from immo_hpc.analysis.labels import LabelledSamples, main_label
from immo_hpc.analysis.results import Interval
from immo_hpc.data.exclude import excluded
from immo_hpc.data.prepared import PreparedCohort

_NUM_RESAMPLES = 1000


def hidden(cohort: PreparedCohort, patterns: Sequence[str]) -> PreparedCohort:
    """The cohort with the values of excluded features not measured."""
    layers = dict(cohort.layers)
    for name, layer in cohort.layers.items():
        unwanted = np.isin(layer.features, excluded(patterns, name, layer.features))
        if unwanted.any():
            values = np.where(unwanted, np.float32(np.nan), layer.values)
            layers[name] = replace(layer, values=values)
    return replace(cohort, layers=layers)


def held_out_auc(
    explained: Sequence[Explained],
    cohorts: Sequence[PreparedCohort],
    data: LabelledSamples,
    seed: int,
) -> tuple[list[Interval], Interval]:
    """AUC by held-out person of each score on its cohort, and of the last minus the first.

    All are taken on the same resamples of people.
    """
    test = np.flatnonzero(~data.training)
    people, subject = np.unique(data.subject[test], return_inverse=True)
    label = main_label(data.y[test], subject)
    drawn = draw_subjects(np.array([label[n] for n in range(len(people))]), _NUM_RESAMPLES, seed)
    values, resampled = [], []
    for score, cohort in zip(explained, cohorts, strict=True):
        scores = score.scores(cohort.take(data.index[test]))
        ranked = by_subject(Ranked(scores, data.y[test], subject))
        values.append(float(macro_auc(ranked)[0]))
        resampled.append(resampled_auc(ranked, drawn))
    found = [interval(value, draws) for value, draws in zip(values, resampled, strict=True)]
    return found, interval(values[-1] - values[0], resampled[-1] - resampled[0])


def compare_without(
    before: pd.DataFrame,
    after: pd.DataFrame,
    patterns: Sequence[str],
    aucs: Sequence[Interval],
    difference: Interval,
    top: int,
) -> ExclusionResult:
    """Both results side by side.

    Args:
        before: `AttributionResult.features` with all features.
        after: The same without the excluded ones.
        patterns: What was excluded.
        aucs: AUC with all features, and without.
        difference: The second minus the first.
        top: Features a layer to name.
    """
    names = {name: list(own["feature"]) for name, own in before.groupby("layer", sort=False)}
    gone = {name: set(excluded(patterns, str(name), known)) for name, known in names.items()}
    is_gone = [row.feature in gone[row.layer] for row in before.itertuples()]
    columns = ["layer", "feature", "rank_in_layer", "share"]
    return ExclusionResult(
        features=before.loc[is_gone, columns].reset_index(drop=True),
        auc_all=aucs[0],
        auc_without=aucs[1],
        difference=difference,
        layers=pd.DataFrame(
            {
                "share_all": before.groupby("layer")["share"].sum(),
                "share_without": after.groupby("layer")["share"].sum(),
            }
        ).reset_index(),
        top=_side_by_side(before, after, names, top),
    )


def without_features(features: pd.DataFrame, patterns: Sequence[str]) -> pd.DataFrame:
    """A table of features without the excluded ones, ranked anew."""
    known: Mapping[str, NDArray[np.str_]] = {
        str(name): own["feature"].to_numpy() for name, own in features.groupby("layer")
    }
    gone = {name: set(excluded(patterns, name, list(held))) for name, held in known.items()}
    kept = features[[row.feature not in gone[row.layer] for row in features.itertuples()]].copy()
    by_layer = kept.groupby("layer")["mean_abs"]
    kept["rank_in_layer"] = by_layer.rank(ascending=False, method="first").astype(int)
    kept["rank"] = kept["mean_abs"].rank(ascending=False, method="first").astype(int)
    return kept.reset_index(drop=True)


def _side_by_side(
    before: pd.DataFrame, after: pd.DataFrame, layers: Mapping[str, list[str]], top: int
) -> pd.DataFrame:
    rows = []
    for name in layers:
        both = [
            table[table["layer"] == name].sort_values("rank_in_layer")["feature"].head(top).tolist()
            for table in (before, after)
        ]
        both = [[*names, *[None] * (top - len(names))] for names in both]
        rows += [(name, rank, *pair) for rank, pair in enumerate(zip(*both, strict=True), start=1)]
    table = pd.DataFrame(rows, columns=["layer", "rank", "all", "without"])
    return table.dropna(subset=["all", "without"], how="all").reset_index(drop=True)
