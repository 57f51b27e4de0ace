"""Attributions of samples gathered by feature, layer and person.

Visits are averaged within a person first, so that nobody counts once a visit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import draw_subjects
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.explaining.stability import Refit
from immo_hpc.analysis.gradients import Attributions
from immo_hpc.data.prepared import PreparedCohort

_QUANTILES = (0.025, 0.975)


def feature_table(found: Attributions, samples: PreparedCohort) -> pd.DataFrame:
    """`AttributionResult.features`; layers that none of the samples has are left out."""
    owner = owners(samples)
    refit = ranking(found, samples)
    tables = []
    for name, block in found.values.items():
        rows = samples.layers[name].rows
        if not len(block):
            continue
        _, signed = person_means(block, owner[rows])
        table = pd.DataFrame(
            {
                "layer": name,
                "feature": list(samples.layers[name].features),
                "mean_abs": refit.strength[name],
                "mean_signed": signed.mean(axis=0),
                "direction": refit.direction[name],
            }
        )
        table["rank_in_layer"] = _rank(table["mean_abs"])
        table["num_samples"] = len(block)
        table["num_people"] = len(signed)
        tables.append(table)
    features = pd.concat(tables, ignore_index=True)
    features.insert(5, "share", features["mean_abs"] / max(features["mean_abs"].sum(), 1e-300))
    features.insert(6, "rank", _rank(features["mean_abs"]))
    return features.sort_values("rank", ignore_index=True)


def ranking(found: Attributions, samples: PreparedCohort) -> Refit:
    """Strength and direction of every feature; of layers without rows, empty."""
    owner = owners(samples)
    strength, direction = {}, {}
    for name, block in found.values.items():
        strength[name], direction[name] = np.zeros(0), np.zeros(0, dtype=np.int64)
        if not len(block):
            continue
        held = owner[samples.layers[name].rows]
        strength[name] = person_means(np.abs(block), held)[1].mean(axis=0)
        # Way from the baseline times attribution = way² times mean gradient: its sign says
        # where a higher value pushes.
        way = np.nan_to_num(samples.layers[name].values)
        way = way if found.origin is None else way - found.origin[name]
        direction[name] = np.sign((way * block).sum(axis=0)).astype(np.int64)
    return Refit(strength, direction)


def _rank(values: pd.Series) -> pd.Series:
    return values.rank(ascending=False, method="first").astype(int)


def layer_table(
    features: pd.DataFrame, found: Attributions, samples: PreparedCohort, seed: int
) -> pd.DataFrame:
    """`AttributionResult.layers`, with bootstrap intervals of the shares over people."""
    total = features.groupby("layer")[["mean_abs", "share", "mean_signed"]].sum()
    total = total.reindex(list(found.values), fill_value=0.0).rename_axis("layer").reset_index()
    total.insert(1, "num_samples", [len(samples.layers[name].rows) for name in total["layer"]])
    lower, upper = _share_interval(subject_table(found, samples), list(total["layer"]), seed)
    total.insert(4, "share_lower", lower)
    total.insert(5, "share_upper", upper)
    return total


def _share_interval(
    subjects: pd.DataFrame, layers: list[str], seed: int, num_resamples: int = 1000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = subjects.pivot_table(index="subject", columns="layer", values="absolute")
    absolute = table.reindex(columns=layers).to_numpy(dtype=np.float64)
    drawn = draw_subjects(np.zeros(len(absolute), dtype=np.int64), num_resamples, seed)
    known = np.isfinite(absolute)
    mean = (drawn @ np.where(known, absolute, 0)) / np.maximum(drawn @ known, 1)
    share = mean / np.maximum(mean.sum(axis=1, keepdims=True), 1e-300)
    lower, upper = np.quantile(share, _QUANTILES, axis=0)
    return lower, upper


def subject_table(found: Attributions, samples: PreparedCohort) -> pd.DataFrame:
    """`AttributionResult.subjects`."""
    owner = owners(samples)
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
