"""Prepared cohorts of three layers that a few factors drive, and one of pure noise."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.cohort import Roles
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer

WIDTHS = {"a": 12, "b": 8, "noise": 6}


def layer(name, values, rows):
    names = tuple(f"{name}{number}" for number in range(values.shape[1]))
    ones = np.ones(len(rows), dtype=np.float32)
    return PreparedLayer(name, names, values.astype(np.float32), rows, ones)


def make_prepared(people=24, visits=3, *, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    number = people * visits
    person = np.repeat(np.arange(people), visits)
    factor = rng.normal(size=(people, 3))[person] + 0.5 * rng.normal(size=(number, 3))
    layers = {}
    for place, (name, width) in enumerate(WIDTHS.items()):
        signal = 0 if name == "noise" else factor @ rng.normal(size=(3, width)) / 2
        values = signal + rng.normal(size=(number, width)) * (1 if name == "noise" else 0.5)
        values[rng.random(values.shape) < missing] = np.nan
        rows = np.flatnonzero((rng.random(number) < 0.8) | (np.arange(number) % 3 == place))
        layers[name] = layer(name, values[rows], rows)
    ids = pd.Index([f"s{place:03d}" for place in range(number)], name="sample_id")
    samples = pd.DataFrame({"who": [f"p{code:02d}" for code in person]}, index=ids)
    side = np.array(["train", "train", "train", "validation", "test", "test"])[person % 6]
    return PreparedCohort(samples, layers, Roles(subject="who"), side)


@pytest.fixture
def prepared():
    """Function that makes a prepared cohort; see its keywords above."""
    return make_prepared
