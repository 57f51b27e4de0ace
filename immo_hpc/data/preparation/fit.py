"""Fitting the preparation of one layer to its training rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind, PreparationConfig
from immo_hpc.data.cohort import Layer
from immo_hpc.data.exclude import excluded
from immo_hpc.data.preparation.composition import fit_composition
from immo_hpc.data.preparation.counts import fit_counts
from immo_hpc.data.preparation.filters import (
    domain_statistics,
    is_flat,
    is_relative,
    merge_domain,
    refuse_domain,
    screen,
    screen_statistics,
    where,
)
from immo_hpc.data.preparation.intensity import fit_intensity, smallest_positive
from immo_hpc.data.preparation.layer import LayerPreparation
from immo_hpc.data.preparation.plain import Plain
from immo_hpc.data.preparation.rows import Block, Reduction, TrainingRows, in_memory
from immo_hpc.data.preparation.statistics import (
    Statistics,
    merge_by,
    merge_counts,
    merge_means,
    merge_smallest,
    moments,
    part,
    prefixed,
)
from immo_hpc.data.preparation.transform import Transform
from immo_hpc.errors import CohortError


def fit_layer(
    layer: Layer,
    train: NDArray[np.int64],
    sample_ids: Sequence[str],
    config: PreparationConfig,
    *,
    reduction: Reduction = in_memory,
    name: str = "fit",
) -> LayerPreparation:
    """Fit the preparation of one layer, in rounds over chunks of its training rows.

    Filters on original values come first. Features that do not vary after the transform go
    next, and the transform is fitted again without them, until all that are left vary.

    Args:
        layer: The layer, in memory or on disk.
        train: Places of its training rows, ``(training row,)``, increasing.
        sample_ids: Names of the cohort's samples, for messages.
        config: Filters and options.
        reduction: Who computes the statistics of chunks.
        name: Before the names of all rounds.

    Raises:
        CohortError: If a training row holds a value that the kind does not allow, if none
            has a value, if no feature passes the filters, or if a composition or counts are
            left with a single feature.
    """
    everything = np.arange(len(layer.features))
    rows = TrainingRows(layer.values, train, everything, reduction, f"{name}.all")
    look = _look(layer, rows, sample_ids)
    names = np.array(layer.features, dtype=object)
    by_filter = screen(part(look, "screen."), layer.kind, config)
    if config.exclude:
        unwanted = np.isin(names, excluded(config.exclude, layer.name, layer.features))
        by_filter = {"exclude": unwanted} | {k: v & ~unwanted for k, v in by_filter.items()}
    dropped = {name: tuple(names[mask]) for name, mask in by_filter.items()} | {"min_sd": ()}
    kept = np.flatnonzero(~np.any(list(by_filter.values()), axis=0))
    for attempt in itertools.count():
        _require_features(layer, kept, dropped, config)
        chosen = rows.using(kept, f"{name}.{attempt}")
        transform = _fit_transform(chosen, look["least.value"][kept], layer.kind, config)
        found = _learn_z_scores(chosen, transform)
        mean, sd = found["z.mean"], np.sqrt(found["z.m2"] / found["z.count"])
        flat = is_flat(mean, sd, config)
        if not flat.any():
            break
        dropped["min_sd"] += tuple(names[kept[flat]])
        kept = kept[~flat]
    num_rows = int(found["rows.number"])
    features = tuple(names[kept])
    return LayerPreparation(
        layer.name, layer.kind, features, dropped, mean, sd, transform, num_rows
    )


def _look(layer: Layer, rows: TrainingRows, sample_ids: Sequence[str]) -> Statistics:
    """The first round, over all features: what filters and checks of the values ask."""

    def looks(block: Block) -> Statistics:
        return {
            **prefixed("screen.", screen_statistics(block.values)),
            **prefixed("domain.", domain_statistics(block.values, block.places, layer.kind)),
            "least.value": smallest_positive(block.values),
        }

    merge = merge_by({"screen.": merge_counts, "domain.": merge_domain, "least.": merge_smallest})
    look = rows.learn("look", looks, merge) if len(rows.places) else {}
    if not look or look["screen.rows"] == 0:
        message = (
            f"{where(layer)}: it is measured in no training sample. Leave the layer out "
            "(--layers), or change the split (seed, split.test_fraction)."
        )
        raise CohortError(message)
    refuse_domain(part(look, "domain."), layer, layer.kind, sample_ids)
    return look


def _learn_z_scores(rows: TrainingRows, transform: Transform) -> Statistics:
    """Moments of the transformed values, and the number of rows."""

    def transformed(block: Block) -> Statistics:
        values, _ = transform.forward(block.values)
        return {**prefixed("z.", moments(values)), "rows.number": np.array(len(values))}

    return rows.learn("z", transformed, merge_by({"z.": merge_means, "rows.": merge_counts}))


def _fit_transform(
    rows: TrainingRows, smallest: NDArray[np.float64], kind: LayerKind, config: PreparationConfig
) -> Transform:
    if kind == "composition":
        return fit_composition(rows)
    if kind == "counts":
        return fit_counts(rows, tmm=config.tmm)
    if kind == "intensity":
        return fit_intensity(rows, smallest, quantile=config.quantile)
    return Plain(1.0)


def _require_features(
    layer: Layer,
    kept: NDArray[np.int64],
    dropped: Mapping[str, tuple[str, ...]],
    config: PreparationConfig,
) -> None:
    limits = config.model_dump() | {"exclude": f"{len(config.exclude)} patterns"}
    removed = ", ".join(
        f"preparation.{name} ({limits[name]}) removed {len(features)}"
        for name, features in dropped.items()
        if features
    )
    removed = f"of {len(layer.features)}, {removed}" if removed else "no filter removed any"
    if kept.size == 0:
        message = (
            f"{where(layer)}: no feature passes the filters ({removed}). Loosen them with "
            "--set, or leave the layer out (--layers)."
        )
        raise CohortError(message)
    if kept.size == 1 and is_relative(layer.kind):
        message = (
            f"{where(layer)}, kind {layer.kind}: one feature is left, '{layer.features[kept[0]]}' "
            f"({removed}), but values of this kind mean something only beside others. Give "
            "the layer the kind 'continuous', loosen the filters, or leave it out (--layers)."
        )
        raise CohortError(message)
