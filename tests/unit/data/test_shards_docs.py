"""The reading recipes of docs/shards.md, run as they stand there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import write_shards

DOCS = Path(__file__).parents[3] / "docs" / "shards.md"
SAMPLES = pd.Index([f"sample {number}" for number in range(40)], name="sample_id")


@pytest.fixture(scope="module")
def preparation():
    values = np.random.default_rng(0).lognormal(size=(20, 3)).astype(np.float32)
    layer = Layer("mb", "intensity", ("a", "b", "c"), values, np.arange(20))
    samples = pd.DataFrame(index=[f"s{number}" for number in range(20)])
    return fit_preparation(Cohort(samples, {"mb": layer}), np.arange(20), PreparationConfig())


@pytest.fixture
def cohort():
    """Two layers, neither measured everywhere, with missing values."""
    rng = np.random.default_rng(1)
    layers = {}
    for name, width in (("mg", 5), ("mb", 3)):
        rows = np.flatnonzero(rng.random(len(SAMPLES)) < 0.7)
        values = rng.integers(-8, 8, (len(rows), width)).astype(np.float32)
        values[rng.random(values.shape) < 0.2] = np.nan
        features = tuple(f"{name}.é{column}" for column in range(width))
        scale = np.ones(len(rows), dtype=np.float32)
        layers[name] = PreparedLayer(name, features, values, rows, scale)
    samples = pd.DataFrame({"person": [f"P{n // 2}" for n in range(len(SAMPLES))]}, index=SAMPLES)
    sides = rng.choice(["train", "validation", "test"], len(SAMPLES))
    return PreparedCohort(samples, layers, Roles(subject="person"), sides)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_pyarrow_pandas_and_duckdb_read_the_shards(
    tmp_path, cohort, preparation, monkeypatch, dtype
):
    write_shards(cohort, preparation, tmp_path / "shards", rows_per_shard=16, dtype=dtype)
    # Files of an earlier state of the set are no part of it.
    (tmp_path / "shards" / "99999.parquet").write_bytes(b"not of this set")
    monkeypatch.chdir(tmp_path)
    names = {}
    snippets = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert all(tool in "".join(snippets) for tool in ("pyarrow", "pandas", "duckdb"))
    for snippet in snippets:
        exec(snippet, names)
    layer = cohort.layers["mg"]
    assert len(names["files"]) == 3
    np.testing.assert_array_equal(names["values"], layer.values)
    expected = pd.DataFrame(layer.values, SAMPLES[layer.rows], layer.features)
    pd.testing.assert_frame_equal(names["frame"].astype("float32"), expected, check_names=False)
    by_side = pd.DataFrame({"split": cohort.split, "first": np.nan}, index=SAMPLES)
    by_side.loc[expected.index, "first"] = expected.iloc[:, 0]
    groups = by_side.groupby("split")
    measured = by_side.loc[expected.index].groupby("split").size()
    sides = names["sides"].set_index("split")
    assert sides["samples"].tolist() == groups.size().tolist()
    assert sides["measured"].tolist() == measured.tolist()
    np.testing.assert_allclose(sides["mean"], groups["first"].mean(), rtol=1e-12)
