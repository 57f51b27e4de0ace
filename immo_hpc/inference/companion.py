"""The companion of a trained network: fitted after it, and asked together with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion import Companion, fit_companion
from immo_hpc.companion.reference import chosen_people
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.stream import ShardIndex, read_samples
from immo_hpc.data.visits import people, without_visits
from immo_hpc.inference import forward
from immo_hpc.nn import ImmoModel

Table = NDArray[np.float32]


def companion_of(
    model: ImmoModel,
    cohort: PreparedCohort | ShardIndex,
    config: ImmoConfig,
    *,
    visits: bool = True,
) -> tuple[Companion, str]:
    """Fit a companion to the people of training and validation, or to some of them.

    Args:
        model: The network, trained on the 'train' side of ``cohort``.
        cohort: Prepared samples, in memory or opened shards.
        config: Configuration of the training.
        visits: Fit rules for samples that come with other visits of their person, too.

    Returns:
        The companion, and a sentence on what it rests on.
    """
    num_samples = len(cohort.samples)
    sides = np.full(num_samples, "train") if cohort.split is None else cohort.split
    widths = np.array([len(layer.features) for layer in cohort.layers.values()], dtype=np.int64)
    person = people(cohort.samples, cohort.roles)
    places = chosen_people(person.tolist(), sides, cohort.measured().astype(np.int64) @ widths)
    if isinstance(cohort, ShardIndex):
        held = read_samples(cohort, places)
    else:
        held = without_visits(cohort.take(places))

    def network(shown: PreparedCohort, names: Sequence[str]) -> Mapping[str, Table]:
        return forward.reconstruct(model, shown, names)

    companion = fit_companion(held, network, config.seed, visits=visits)
    all_people, kept = len(np.unique(person[sides != "test"])), len(np.unique(person[places]))
    return companion, (
        f"companion: keeps {len(places)} samples of {kept} of the {all_people} people of training "
        "and validation."
    )


def reconstruct(
    model: ImmoModel,
    companion: Companion | None,
    cohort: PreparedCohort,
    layers: Sequence[str],
) -> dict[str, Table]:
    """The named layers for every sample: what is missing, as network and companion say it.

    Args:
        model: The network.
        companion: Its companion; None: the network says everything.
        cohort: Prepared samples; with layers of other visits (`immo_hpc.data.visits`), the
            companion uses these too.
        layers: Layers of the model.

    Returns:
        By layer ``(sample, feature)``, float32, z-scores. For values that were measured it
        is what the network says.
    """
    said = forward.reconstruct(model, without_visits(cohort), layers)
    if companion is None:
        return said
    return {name: companion.blended(cohort, name, network) for name, network in said.items()}
