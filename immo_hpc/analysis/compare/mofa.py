"""MOFA2 through `mofapy2`, an optional package (``pip install immo-hpc[peers]``).

MOFA has no way of its own to place samples it was not fitted to. They are placed as its own
model says: the mean of their factors given what is measured, the weights and the noise of
each feature being known.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.compare.contender import Learnt
from immo_hpc.analysis.compare.lowrank import LinearModel, visible_mean
from immo_hpc.analysis.compare.representation import classified
from immo_hpc.analysis.hiding import columns
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort

_FACTORS = 15
_ITERATIONS = 500


def learn_mofa(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """MOFA with 15 factors, Gaussian likelihoods, otherwise as it comes."""
    places = columns(training)
    mean = visible_mean(training)
    x = training.wide().astype(np.float64) - mean
    views = {name: x[:, place] for name, place in places.items()}
    # It reports on stdout, whose lines belong to results, and warns of what it does itself.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights, noise = _fit(views, config.seed)
    model = LinearModel(mean, weights, np.ones(weights.shape[1]), noise, places)
    return classified(Learnt(layer=model.layer, values=model.values), model.components)


def _fit(
    views: Mapping[str, NDArray[np.float64]], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``(feature, factor)`` and precision of the noise ``(feature,)``, all views."""
    from mofapy2.run.entry_point import entry_point

    mofa = entry_point()
    mofa.set_data_options(scale_views=False)
    number = len(next(iter(views.values())))
    mofa.set_data_matrix(
        [[values] for values in views.values()],
        likelihoods=["gaussian"] * len(views),
        views_names=list(views),
        groups_names=["all"],
        samples_names=[[str(place) for place in range(number)]],
        features_names=[
            [f"{name}:{place}" for place in range(values.shape[1])]
            for name, values in views.items()
        ],
    )
    mofa.set_model_options(factors=min(_FACTORS, number - 1))
    mofa.set_train_options(iter=_ITERATIONS, convergence_mode="fast", seed=seed, quiet=True)
    mofa.build()
    mofa.run()
    nodes = mofa.model.nodes
    weights = np.concatenate(nodes["W"].getExpectation())
    noise = np.concatenate([np.asarray(tau)[0] for tau in nodes["Tau"].getExpectation()])
    return np.asarray(weights, np.float64), np.asarray(noise, np.float64)
