"""Fitting the preparation of one layer to its training rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind, PreparationConfig
from immo_hpc.data.cohort import Layer
from immo_hpc.data.preparation.composition import fit_composition
from immo_hpc.data.preparation.counts import fit_counts
from immo_hpc.data.preparation.filters import is_flat, is_relative, screen, where
from immo_hpc.data.preparation.intensity import fit_intensity
from immo_hpc.data.preparation.layer import LayerPreparation
from immo_hpc.data.preparation.plain import Plain
from immo_hpc.data.preparation.transform import Transform
from immo_hpc.errors import CohortError


def fit_layer(layer: Layer, config: PreparationConfig) -> LayerPreparation:
    """Fit the preparation of one layer.

    Filters on original values come first. Features that do not vary after the transform go
    next, and the transform is fitted again without them, until all that are left vary.

    Args:
        layer: The training rows of the layer.
        config: Filters and options.

    Raises:
        CohortError: If no training row has a value, if no feature passes the filters, or if
            a composition or counts are left with a single feature.
    """
    values = layer.values[~np.isnan(layer.values).all(axis=1)]
    if len(values) == 0:
        message = (
            f"{where(layer)}: it is measured in no training sample. Leave the layer out "
            "(--layers), or change the split (seed, split.test_fraction)."
        )
        raise CohortError(message)
    names = np.array(layer.features, dtype=object)
    by_filter = screen(values, layer.kind, config)
    dropped = {name: tuple(names[mask]) for name, mask in by_filter.items()} | {"min_sd": ()}
    kept = np.flatnonzero(~np.any(list(by_filter.values()), axis=0))
    while True:
        _require_features(layer, kept, dropped, config)
        chosen = values[:, kept].astype(np.float64)
        chosen = chosen[~np.isnan(chosen).all(axis=1)]
        transform = _fit_transform(chosen, layer.kind, config)
        transformed, _ = transform.forward(chosen)
        mean, sd = np.nanmean(transformed, axis=0), np.nanstd(transformed, axis=0)
        flat = is_flat(mean, sd, config)
        if not flat.any():
            break
        dropped["min_sd"] += tuple(names[kept[flat]])
        kept = kept[~flat]
    features = tuple(names[kept])
    return LayerPreparation(
        layer.name, layer.kind, features, dropped, mean, sd, transform, len(chosen)
    )


def _fit_transform(
    values: NDArray[np.float64], kind: LayerKind, config: PreparationConfig
) -> Transform:
    if kind == "composition":
        return fit_composition(values)
    if kind == "counts":
        return fit_counts(values, tmm=config.tmm)
    if kind == "intensity":
        return fit_intensity(values, quantile=config.quantile)
    return Plain(1.0)


def _require_features(
    layer: Layer,
    kept: NDArray[np.int64],
    dropped: Mapping[str, tuple[str, ...]],
    config: PreparationConfig,
) -> None:
    limits = config.model_dump()
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
