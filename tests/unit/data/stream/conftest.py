"""Cohorts as shards with small row groups."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import layout, write_shards


def make_cohort(seed=0, num_samples=40, widths=(3, 1, 4)):
    """Layers measured at random; some may be wholly absent, some values are missing."""
    rng = np.random.default_rng(seed)
    layers = {}
    for place, width in enumerate(widths):
        rows = np.flatnonzero(rng.random(num_samples) < rng.random())
        values = rng.standard_normal((len(rows), width)).astype(np.float32)
        values[rng.random(values.shape) < 0.2] = np.nan
        name = f"layer{place}"
        features = tuple(f"{name}.{column}" for column in range(width))
        scale = rng.random(len(rows)).astype(np.float32)
        layers[name] = PreparedLayer(name, features, values, rows, scale)
    index = pd.Index([f"sample{number}" for number in range(num_samples)], name="sample_id")
    split = rng.choice(["train", "validation"], num_samples)
    return PreparedCohort(
        pd.DataFrame({"age": rng.random(num_samples)}, index), layers, split=split
    )


@pytest.fixture(scope="session")
def new_cohort():
    return make_cohort


@pytest.fixture(scope="session")
def write(tmp_path_factory):
    """Write a cohort as shards with row groups of a few samples; gives the folder."""

    def write(cohort, *, group_rows=4, rows_per_shard=12, dtype="float32"):
        folder = tmp_path_factory.mktemp("stream") / "shards"
        row_bytes = sum(len(layer.features) for layer in cohort.layers.values())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layout, "GROUP_BYTES", group_rows * row_bytes * np.dtype(dtype).itemsize)
            write_shards(
                cohort, Preparation({}), folder, rows_per_shard=rows_per_shard, dtype=dtype
            )
        return folder

    return write
