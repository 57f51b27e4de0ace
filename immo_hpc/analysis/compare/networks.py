"""IMMO and other autoencoders, all trained by the project's own loop.

torch is imported where it is needed: most methods of a comparison do without, and each runs in
a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.compare.contender import Learnt, Table
from immo_hpc.analysis.compare.representation import classified
from immo_hpc.analysis.hiding import columns, filled
from immo_hpc.config import ImmoConfig, paper_recipe, validated
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.visits import is_visits, measured_layers, without_visits

# Everything is shown and all that was measured is scored: nothing that is IMMO's own.
_NO_MASKS = {
    "values": {"p0": 1.0, "growth": 0.0, "p_max": 1.0},
    "values_by_layer": {},
    "layers": {"p0": 1.0, "growth": 0.0, "p_max": 1.0},
}
_UMINT = {
    "mask": _NO_MASKS,
    "loss": {"scope": "observed"},
    "model": {"dropout": 0.0},
    "train": {"weight_decay": 1e-2, "companion": False},
}
_PLAIN = {"mask": _NO_MASKS, "loss": {"scope": "observed"}, "model": {"dropout": 0.0}}
_ALL = "all"


def learn_immo(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """IMMO as configured."""
    return _learnt(training, config)


def learn_network(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """IMMO's network without its companion."""
    return _learnt(training, _changed(config, {"train": {"companion": False}}))


def learn_companion(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """IMMO's companion without its network."""
    from immo_hpc.companion import fit_companion

    visits = any(map(is_visits, training.layers))
    companion = fit_companion(without_visits(training), None, config.seed, visits=visits)

    def layer(cohort: PreparedCohort, name: str) -> NDArray[np.float32]:
        return companion.blended(cohort, name, None)

    def values(cohort: PreparedCohort) -> Mapping[str, Table]:
        return {name: layer(cohort, name) for name in measured_layers(cohort)}

    return Learnt(layer=layer, values=values)


def learn_paper(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """IMMO with the published settings of masks, loss, dropout and optimiser."""
    return _learnt(training, _changed(config, paper_recipe()))


def learn_umint(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """As UMINT: a first block for each layer, one bottleneck, no masks, weights kept small.

    Of its penalties the one on weights stands here; that on activations does not.
    """
    return _learnt(training, _changed(config, _UMINT))


def learn_autoencoder(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """One encoder on all features side by side, missing values filled with the mean."""
    from immo_hpc.inference import forward
    from immo_hpc.train import train

    places = columns(training)
    model = train(_as_one(training), _changed(config, _PLAIN)).model

    def values(cohort: PreparedCohort) -> Mapping[str, Table]:
        said = forward.reconstruct(model, _as_one(cohort), [_ALL])[_ALL]
        return {name: said[:, place] for name, place in places.items()}

    learnt = Learnt(layer=lambda cohort, name: values(cohort)[name], values=values)
    return classified(learnt, lambda cohort: forward.embed(model, _as_one(cohort)))


def _learnt(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    from immo_hpc.inference import forward
    from immo_hpc.inference.companion import companion_of, reconstruct
    from immo_hpc.train import train

    visits, training = any(map(is_visits, training.layers)), without_visits(training)
    model = train(training, config).model
    companion = None
    if config.train.companion:
        companion, _ = companion_of(model, training, config, visits=visits)

    def layer(cohort: PreparedCohort, name: str) -> NDArray[np.float32]:
        return reconstruct(model, companion, cohort, [name])[name]

    def values(cohort: PreparedCohort) -> Mapping[str, Table]:
        return reconstruct(model, companion, cohort, measured_layers(cohort))

    learnt = Learnt(layer=layer, values=values)
    return classified(learnt, lambda cohort: forward.embed(model, cohort))


def _as_one(cohort: PreparedCohort) -> PreparedCohort:
    """The cohort as a single layer without a gap."""
    x = filled(cohort)
    rows = np.arange(len(x), dtype=np.int64)
    names = tuple(f"{name}:{item}" for name, own in cohort.layers.items() for item in own.features)
    layer = PreparedLayer(_ALL, names, x, rows, np.ones(len(x), dtype=np.float32))
    return replace(cohort, layers={_ALL: layer})


def _changed(config: ImmoConfig, changes: Mapping[str, Any]) -> ImmoConfig:
    values = config.model_dump()
    for section, keys in changes.items():
        values[section] = {**values[section], **keys}
    return validated(values, where="compare")
