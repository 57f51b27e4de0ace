"""A small cohort of every kind of layer, and an untrained model that fits it."""

import numpy as np
import pandas as pd
import pytest
import torch

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.inference import TrainedModel
from immo_hpc.nn import ImmoModel

NUM_SAMPLES = 40


def _values(kind, rng, rows, features):
    if kind == "composition":
        parts = rng.lognormal(size=(rows, features)) * (rng.random((rows, features)) > 0.2)
        parts[:, 0] += 0.5
        return 100 * parts / parts.sum(axis=1, keepdims=True)
    if kind == "counts":
        return rng.poisson(rng.lognormal(3, 1, size=(rows, features)))
    if kind == "intensity":
        return rng.lognormal(12, 2, size=(rows, features))
    if kind == "binary":
        return rng.integers(0, 2, size=(rows, features))
    return rng.normal(5, 3, size=(rows, features))


def make_cohort(num_samples=NUM_SAMPLES, seed=0, prefix="s"):
    rng = np.random.default_rng(seed)
    layers = {}
    shapes = {"mg": ("composition", 6), "tx": ("counts", 7), "mb": ("intensity", 5)}
    shapes |= {"cl": ("continuous", 3), "pa": ("binary", 4)}
    for place, (name, (kind, width)) in enumerate(shapes.items()):
        has = rng.random(num_samples) < 0.6
        has[place::5] = True  # every sample has at least one layer
        rows = np.flatnonzero(has)
        values = _values(kind, rng, len(rows), width).astype(np.float32)
        if kind in ("intensity", "continuous", "composition"):
            holes = rng.random(values.shape) < 0.1
            holes[:, 0] = False
            values[holes] = np.nan
        features = tuple(f"{name}_{number}" for number in range(width))
        layers[name] = Layer(name, kind, features, values, rows)
    ids = pd.Index([f"{prefix}{number}" for number in range(num_samples)], name="sample_id")
    samples = pd.DataFrame({"subject_id": [f"p{n // 2}" for n in range(num_samples)]}, index=ids)
    return Cohort(samples, layers, Roles(subject="subject_id"))


@pytest.fixture(scope="session")
def cohort():
    return make_cohort()


@pytest.fixture(scope="session")
def trained(cohort):
    config = ImmoConfig.model_validate(
        {"model": {"latent_dim": 4, "encoder_dims": (8,), "decoder_dims": (8,)}}
    )
    preparation = fit_preparation(cohort, np.arange(NUM_SAMPLES), config.preparation)
    features = {name: len(layer.features) for name, layer in preparation.layers.items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ImmoModel(features, config.model).eval()
    return TrainedModel(model, preparation, config, cohort.roles)
