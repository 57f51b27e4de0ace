"""What a growing set gets, decided before anything is written, and prepared bit by bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.cohort import Cohort
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards.arrivals import Arrivals, arrive
from immo_hpc.data.shards.drift import Drift, begin_drift
from immo_hpc.data.shards.grow_preparation import GrownPreparation, grow_preparation, set_config
from immo_hpc.data.shards.history import grown_prefix
from immo_hpc.data.shards.index import SetIndex, read_index, side_of_subject
from immo_hpc.data.split import assign_new


@dataclass(frozen=True)
class GrowthPlan:
    """All that is decided before anything is written.

    Attributes:
        folder: Folder of the set.
        manifest: Its manifest.
        index: Its samples.
        arrivals: What comes.
        sides: Sides of the new samples, ``(new,)``; None if the set was not split.
        grown: The preparation with what is fitted anew.
        drift: Old training samples, to compare the new ones with.
        prefix: What the names of the new files begin with.
    """

    folder: Path
    manifest: Manifest
    index: SetIndex
    arrivals: Arrivals
    sides: NDArray[np.str_] | None
    grown: GrownPreparation
    drift: Drift
    prefix: str

    @cached_property
    def features(self) -> dict[str, tuple[str, ...]]:
        """Features of the grown set, by layer."""
        layers = self.grown.preparation.layers
        return {name: layer.features for name, layer in layers.items()}

    @cached_property
    def subjects(self) -> NDArray[Any]:
        """Subject of each sample of the cohort, ``(sample,)``, text."""
        return np.asarray(self.arrivals.cohort.subjects.astype(str))


def plan_growth(
    folder: Path,
    manifest: Manifest,
    cohort: Cohort,
    content: str,
    skip_known: bool,
    add_features: bool,
) -> GrowthPlan:
    """Decide what is added, on which sides, and fit what the set does not have yet.

    Args:
        folder: Folder of the set.
        manifest: Its manifest.
        cohort: What comes.
        content: SHA-256 over it (`content_digest`).
        skip_known: Leave out what the set has.
        add_features: Let unknown features join their layer.

    Raises:
        ShardError, CohortError: As `append_cohort`.
    """
    index = read_index(folder, manifest)
    arrivals = arrive(folder, manifest, index, cohort, skip_known=skip_known)
    cohort, new, known = arrivals.cohort, arrivals.new, arrivals.known
    config = set_config(folder, manifest)
    sides = None
    is_train = np.zeros(len(cohort.samples), dtype=np.bool_)
    if index.split is None:
        is_train[new] = is_train[known] = True
    else:
        table = cohort.samples.iloc[new]
        known_sides = side_of_subject(index, manifest)
        sides = assign_new(table, manifest.roles, config.split, config.seed, known_sides)
        is_train[new] = sides == "train"
        is_train[known] = index.split[arrivals.place] == "train"
    old = Preparation.from_dict(dict(manifest.preparation))
    grown = grow_preparation(
        old, arrivals, np.flatnonzero(is_train), config.preparation, add_features=add_features
    )
    rows = {
        name: int(is_train[layer.rows].sum())
        for name, layer in cohort.layers.items()
        if name in manifest.features and is_train[layer.rows].any()
    }
    drift = begin_drift(folder, manifest, index, rows)
    prefix = grown_prefix(manifest.generation + 1, content)
    return GrowthPlan(folder, manifest, index, arrivals, sides, grown, drift, prefix)


def prepared_new(plan: GrowthPlan, places: NDArray[np.int64]) -> PreparedCohort:
    """The new samples at ``places`` among the new ones, prepared and looked at for drift."""
    chosen = plan.arrivals.new[places]
    prepared = plan.grown.preparation.apply(plan.arrivals.cohort.take(chosen))
    is_train = np.ones(len(places), dtype=np.bool_)
    if plan.sides is not None:
        is_train = plan.sides[places] == "train"
    for layer in prepared.layers.values():
        plan.drift.add(layer, is_train[layer.rows], plan.subjects[chosen][layer.rows])
    return prepared


def completing(plan: GrowthPlan, first: int, start: int, count: int) -> dict[str, PreparedLayer]:
    """What known samples get, of the ``count`` from ``start`` on in the shard from ``first`` on."""
    arrivals, start = plan.arrivals, first + start
    low, high = np.searchsorted(arrivals.place, [start, start + count])
    if low == high:
        return {}
    chosen, place = arrivals.known[low:high], arrivals.place[low:high]
    prepared = plan.grown.preparation.apply(arrivals.cohort.take(chosen))
    is_train = np.ones(len(place), dtype=np.bool_)
    if plan.index.split is not None:
        is_train = plan.index.split[place] == "train"
    found = {}
    for name, gets in arrivals.gets.items():
        layer = prepared.layers.get(name)
        if layer is None:
            continue
        held = gets[low:high][layer.rows]
        rows = layer.rows[held]
        layer = replace(layer, values=layer.values[held], rows=rows, scale=layer.scale[held])
        plan.drift.add(layer, is_train[rows], plan.subjects[chosen][rows])
        found[name] = replace(layer, rows=place[rows] - start)
    return found
