"""Small prepared cohorts with repeated visits, for the analyses."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.cohort import Roles
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer


def _cohort(
    *,
    num_subjects=40,
    visits=3,
    classes=("control", "case"),
    signal=1.0,
    subject_effect=0.0,
    features=(6, 5),
    missing=0.3,
    seed=0,
):
    """Layers 'a' and 'b'; the first feature of each shifts with the class by ``signal``."""
    generator = np.random.default_rng(seed)
    subject = np.repeat(np.arange(num_subjects), visits)
    code = np.arange(num_subjects) % len(classes)
    ids = [f"s{subject_}v{visit}" for subject_ in range(num_subjects) for visit in range(visits)]
    samples = pd.DataFrame(
        {
            "label": [classes[code[number]] for number in subject],
            "person": [f"p{number:02d}" for number in subject],
        },
        index=pd.Index(ids, name="sample_id"),
    )
    layers = {}
    for place, (name, width) in enumerate(zip("ab", features, strict=True)):
        z = generator.normal(size=(len(ids), width))
        z += subject_effect * generator.normal(size=(num_subjects, width))[subject]
        z[:, 0] += signal * code[subject]
        has_it = generator.random(len(ids)) >= missing
        has_it |= np.arange(len(ids)) % 2 == place  # Every sample has a layer.
        rows = np.flatnonzero(has_it)
        names = tuple(f"{name}{number}" for number in range(width))
        z = z[rows].astype(np.float32)
        layers[name] = PreparedLayer(name, names, z, rows, np.ones(len(rows), np.float32))
    side = np.array(["train", "train", "train", "validation", "test", "test"])
    split = side[(np.arange(num_subjects) // len(classes)) % 6][subject]
    return PreparedCohort(samples, layers, Roles(label="label", subject="person"), split)


@pytest.fixture
def make_cohort():
    """Function that makes a prepared cohort; see its keywords above."""
    return _cohort
