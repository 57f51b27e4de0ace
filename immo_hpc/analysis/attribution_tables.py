"""Attributions of samples gathered by feature, layer and subject."""

from __future__ import annotations

import numpy as np
import pandas as pd

from immo_hpc.analysis.gradients import Attributions
from immo_hpc.data.prepared import PreparedCohort


def feature_table(found: Attributions, samples: PreparedCohort) -> pd.DataFrame:
    """`AttributionResult.features`; layers that none of the samples has are left out."""
    tables = []
    for name, block in found.values.items():
        if not len(block):
            continue
        # x * attribution = x² * mean gradient: its sign says where a higher value pushes.
        push = (block * np.nan_to_num(samples.layers[name].values)).sum(axis=0)
        table = pd.DataFrame(
            {
                "layer": name,
                "feature": list(samples.layers[name].features),
                "mean_abs": np.abs(block).mean(axis=0),
                "mean_signed": block.mean(axis=0),
                "direction": np.sign(push).astype(int),
            }
        )
        table["rank_in_layer"] = _rank(table["mean_abs"])
        table["num_samples"] = len(block)
        tables.append(table)
    features = pd.concat(tables, ignore_index=True)
    features.insert(5, "share", features["mean_abs"] / max(features["mean_abs"].sum(), 1e-300))
    features.insert(6, "rank", _rank(features["mean_abs"]))
    return features.sort_values("rank", ignore_index=True)


def _rank(values: pd.Series) -> pd.Series:
    return values.rank(ascending=False, method="first").astype(int)


def layer_table(
    features: pd.DataFrame, found: Attributions, samples: PreparedCohort
) -> pd.DataFrame:
    """`AttributionResult.layers`."""
    total = features.groupby("layer")[["mean_abs", "share", "mean_signed"]].sum()
    total = total.reindex(list(found.values), fill_value=0.0).rename_axis("layer").reset_index()
    total.insert(1, "num_samples", [len(samples.layers[name].rows) for name in total["layer"]])
    return total


def subject_table(found: Attributions, samples: PreparedCohort) -> pd.DataFrame:
    """`AttributionResult.subjects`."""
    owner = samples.subjects.astype(str).to_numpy()
    tables = []
    for name, block in found.values.items():
        by_sample = pd.DataFrame(
            {
                "subject": owner[samples.layers[name].rows],
                "layer": name,
                "signed": block.sum(axis=1),
                "absolute": np.abs(block).sum(axis=1),
            }
        )
        grouped = by_sample.groupby(["subject", "layer"], as_index=False)
        tables.append(
            grouped.agg(
                num_samples=("signed", "size"),
                signed=("signed", "mean"),
                absolute=("absolute", "mean"),
            )
        )
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def value_table(found: Attributions, samples: PreparedCohort) -> pd.DataFrame:
    """`AttributionResult.values`."""
    columns = [(name, f) for name, layer in samples.layers.items() for f in layer.features]
    table = np.zeros((len(samples.samples), len(columns)), dtype=np.float32)
    start = 0
    for name, layer in samples.layers.items():
        table[layer.rows, start : start + len(layer.features)] = found.values[name]
        start += len(layer.features)
    return pd.DataFrame(
        table,
        index=pd.Index(samples.sample_ids, name="sample_id"),
        columns=pd.MultiIndex.from_tuples(columns, names=["layer", "feature"]),
    )
