"""Raw cohorts of a few continuous layers that one factor drives."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles


def _raw(*, num_subjects=24, visits=3, signal=1.5, seed=0, width=6, noise=0.5, missing=0.2):
    generator = np.random.default_rng(seed)
    number = num_subjects * visits
    subject = np.repeat(np.arange(num_subjects), visits)
    label = (np.arange(num_subjects) % 2)[subject]
    factor = generator.normal(size=(number, 2)) + signal * label[:, None]
    samples = pd.DataFrame(
        {
            "label": np.array(["control", "case"])[label],
            "person": [f"p{code:02d}" for code in subject],
        },
        index=pd.Index([f"s{place:03d}" for place in range(number)], name="sample_id"),
    )
    layers = {}
    for place, name in enumerate("ab"):
        x = factor @ generator.normal(size=(2, width)) + noise * generator.normal(
            size=(number, width)
        )
        has_it = (generator.random(number) >= missing) | (np.arange(number) % 2 == place)
        rows = np.flatnonzero(has_it)
        names = tuple(f"{name}{column}" for column in range(width))
        layers[name] = Layer(name, "continuous", names, x[rows].astype(np.float32), rows)
    return Cohort(samples, layers, Roles(label="label", positive="case", subject="person"))


@pytest.fixture
def make_raw():
    """Function that makes a cohort in original units; see its keywords above."""
    return _raw


@pytest.fixture
def tiny_config():
    """IMMO small enough to train in a second."""
    return ImmoConfig(
        model={"latent_dim": 4, "encoder_dims": (8,), "decoder_dims": (8,)},
        train={"epochs": 3, "num_threads": 1},
    )
