"""Hiding measured values of a prepared cohort, to see what is said about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.prepared import PreparedCohort


def hide_values(
    cohort: PreparedCohort, share: float, generator: np.random.Generator
) -> tuple[PreparedCohort, dict[str, NDArray[np.float32]]]:
    """The cohort with a share of its values missing, and those values by layer (else NaN)."""
    layers, hidden = {}, {}
    for name, layer in cohort.layers.items():
        is_hidden = generator.random(layer.values.shape) < share
        layers[name] = replace(layer, values=np.where(is_hidden, np.nan, layer.values))
        hidden[name] = np.where(is_hidden, layer.values, np.float32(np.nan))
    return replace(cohort, layers=layers), hidden


def has_both(cohort: PreparedCohort, name: str) -> NDArray[np.int64]:
    """Samples that have the layer and at least one other."""
    has_it = np.isin(np.arange(len(cohort.samples)), cohort.layers[name].rows)
    return np.flatnonzero(has_it & (cohort.measured().sum(axis=1) > 1))
