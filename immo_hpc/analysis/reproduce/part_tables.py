"""From the parts of a reproduction to its tables of masks, search and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from immo_hpc.analysis.reproduce.masks import By, Kind, fall
from immo_hpc.analysis.reproduce.published import Published
from immo_hpc.analysis.reproduce.split import TOP

Part = Mapping[str, Any]


def mask_tables(
    masks: Mapping[tuple[By, Kind], Sequence[Part]], facts: Published
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`Reproduction.masks` and `curves`."""
    rows, curves = [], []
    for (by, kind), parts in masks.items():
        assert facts.masks is not None
        is_dynamic = kind == "dynamic"
        falls = [fall(part["losses"]) for part in parts]
        epochs = [len(part["losses"]) for part in parts]
        rows.append(
            {
                "by": by,
                "kind": kind,
                "splits": len(parts),
                "paper_fall": facts.masks.dynamic_fall if is_dynamic else facts.masks.static_fall,
                "fall": float(np.mean(falls)),
                "fall_sd": _sd(falls),
                "paper_epochs": facts.masks.dynamic_epochs
                if is_dynamic
                else facts.masks.static_epochs,
                "epochs": float(np.mean(epochs)),
                "epochs_sd": _sd(epochs),
                "held_out_fall": float(np.mean([fall(part["held_out"]) for part in parts])),
                "held_out": float(np.mean([min(part["held_out"]) for part in parts])),
            }
        )
        for epoch in range(min(epochs)):
            told = {
                name: float(np.mean([part[source][epoch] / part[source][0] for part in parts]))
                for name, source in (("loss", "losses"), ("held_out", "held_out"))
            }
            curves.append({"by": by, "kind": kind, "epoch": epoch + 1, **told})
    return pd.DataFrame(rows), pd.DataFrame(curves)


def search_tables(
    study: Mapping[str, Any] | None, facts: Published
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """`Reproduction.search` and `search_about`."""
    if study is None:
        return pd.DataFrame(), {}
    trials = study["trials"]
    best = min(trials, key=lambda trial: trial["fixed"])
    by_own = min(trials, key=lambda trial: trial["own"])
    paper = next((trial for trial in trials if trial["origin"] == "paper"), None)
    rows = [
        {
            "name": item.name,
            "searched": item.searched,
            "paper_best": item.best,
            "paper_used": item.used,
            "ours": _setting(best["values"][item.key]),
            "by_own": _setting(by_own["values"][item.key]),
        }
        for item in facts.search
    ]
    suggested = sum(trial["origin"] not in ("paper", "default", "start") for trial in trials)
    about = {
        "trials": len(trials),
        "start": len(trials) - suggested,
        "suggested": suggested,
        "objective": study["objective"],
        "seed": study["seed"],
        "best_fixed": best["fixed"],
        "paper_fixed": None if paper is None else paper["fixed"],
        "own_fixed": by_own["fixed"],
        "own_rank": 1 + sum(trial["fixed"] < by_own["fixed"] for trial in trials),
    }
    return pd.DataFrame(rows), about


def feature_table(splits: Sequence[Part], facts: Published) -> pd.DataFrame:
    """`Reproduction.features`: the top ten of each layer, and those that the paper names.

    A feature is ranked by its mean share over the splits; in a split in which it is not among
    the top ten its share counts as 0, whoever names it.
    """
    rows = [
        {**row, "split": place} for place, part in enumerate(splits) for row in part["features"]
    ]
    table = pd.DataFrame(rows)
    found = []
    for (layer, feature), own in table.groupby(["layer", "feature"], sort=False):
        named = next(
            (f for f in facts.features if f.layer == layer and f.is_meant(str(feature))), None
        )
        in_top = own["rank_in_layer"] <= TOP
        found.append(
            {
                "layer": layer,
                "feature": feature,
                "share": float(own["share"].where(in_top, 0.0).sum() / len(splits)),
                "direction": int(np.sign(own["direction"].sum())),
                "in_top": int(in_top.sum()),
                "median_rank": float(own["rank_in_layer"].median()),
                "splits": len(splits),
                "paper": None if named is None else named.title,
            }
        )
    features = pd.DataFrame(found)
    ranks = features.groupby("layer")["share"].rank(ascending=False, method="first")
    # A feature that only the paper names has its place among all, in the median split.
    is_top = (ranks <= TOP) & (features["in_top"] > 0)
    places = ranks.where(is_top, features["median_rank"].clip(lower=TOP + 1))
    features.insert(2, "rank_in_layer", places.round().astype(int))
    # Of a genus that the paper names the first one is enough.
    first = features.groupby(["layer", "paper"])["rank_in_layer"].transform("min")
    kept = (features["rank_in_layer"] <= TOP) | (features["rank_in_layer"] == first)
    order = {name: place for place, name in enumerate(facts.layers)}
    return features[kept].sort_values(
        ["layer", "rank_in_layer"],
        key=lambda column: column.map(order) if column.name == "layer" else column,
        ignore_index=True,
    )


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {weight:.2f}" for name, weight in value.items())
    return f"{value:.4g}"


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
