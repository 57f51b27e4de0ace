"""A small cohort with absent layers, missing values and a layer of one feature."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer

WIDTHS = {"mg": 9, "mt": 1, "mb": 6}


def make_cohort(num_samples=50, *, seed=0, widths=None, split=True):
    draw = np.random.default_rng(seed)
    widths = widths or WIDTHS
    factors = draw.normal(size=(num_samples, 3))
    measured = draw.random((num_samples, len(widths))) < 0.7
    measured[~measured.any(1), 0] = True
    layers = {}
    for column, (name, width) in enumerate(widths.items()):
        rows = np.flatnonzero(measured[:, column]).astype(np.int64)
        values = factors[rows] @ draw.normal(size=(3, width)) / 2
        values = (values + draw.normal(size=values.shape) / 2).astype(np.float32)
        values[draw.random(values.shape) < 0.1] = np.nan
        names = tuple(f"{name}_{number}" for number in range(width))
        scale = np.ones(len(rows), np.float32)
        layers[name] = PreparedLayer(name, names, values, rows, scale)
    samples = pd.DataFrame(
        index=pd.Index([f"s{number}" for number in range(num_samples)], name="sample_id")
    )
    sides = np.array(["train", "train", "train", "validation", "test"])
    return PreparedCohort(
        samples, layers, split=sides[np.arange(num_samples) % 5] if split else None
    )


def make_config(**train):
    values = {"epochs": 4, "batch_size": 8, "device": "cpu", "num_threads": 1, **train}
    return ImmoConfig.model_validate(
        {
            "seed": 3,
            "model": {"latent_dim": 4, "encoder_dims": [6], "decoder_dims": [7], "dropout": 0.3},
            "train": values,
        }
    )


@pytest.fixture
def cohort():
    return make_cohort()


@pytest.fixture
def new_cohort():
    return make_cohort


@pytest.fixture
def new_config():
    return make_config
