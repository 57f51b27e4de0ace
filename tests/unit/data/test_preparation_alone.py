"""Single values on a scale of their own, and back: increasing, and true to the whole row."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.preparation.alone import comparable, restored

ROWS, FEATURES = 30, 6


def raw_values(kind, rng):
    if kind == "composition":
        parts = rng.lognormal(size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) > 0.25)
        parts[:, 0] += 0.5
        return 100 * parts / parts.sum(axis=1, keepdims=True)
    if kind == "counts":
        return rng.poisson(rng.lognormal(3, 1, size=(ROWS, FEATURES)))
    if kind == "intensity":
        return rng.lognormal(8, 2, size=(ROWS, FEATURES)) * (rng.random((ROWS, FEATURES)) > 0.1)
    if kind == "binary":
        return rng.integers(0, 2, size=(ROWS, FEATURES))
    return rng.normal(5, 3, size=(ROWS, FEATURES))


def fitted(kind):
    rng = np.random.default_rng(1)
    values = raw_values(kind, rng).astype(np.float32)
    names = tuple(f"f{number}" for number in range(FEATURES))
    ids = pd.Index([f"s{number}" for number in range(ROWS)], name="sample_id")
    layer = Layer("x", kind, names, values, np.arange(ROWS))
    cohort = Cohort(pd.DataFrame(index=ids), {"x": layer}, Roles())
    preparation = fit_preparation(cohort, np.arange(ROWS), PreparationConfig())
    return preparation.layers["x"], preparation.apply(cohort).layers["x"], values


KINDS = ["composition", "counts", "intensity", "continuous", "binary"]
FITTED = {kind: fitted(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_measured_comes_back(kind):
    layer, prepared, values = FITTED[kind]
    there = comparable(layer, prepared.values)
    back = restored(layer, there, prepared.scale)
    np.testing.assert_allclose(back, values, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_row_and_its_single_values_agree(kind):
    """For a row that was never measured too, as long as nothing is near detection."""
    layer, prepared, _ = FITTED[kind]
    z = prepared.values[:8] * 0.5
    whole = layer.invert(z)
    alone = restored(layer, comparable(layer, z))
    seen = whole > 0 if kind == "composition" else np.isfinite(whole)
    np.testing.assert_allclose(alone[seen], whole[seen], rtol=1e-6, atol=1e-9)


@settings(max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    low=st.floats(-30, 30),
    step=st.floats(0, 30),
    column=st.integers(0, FEATURES - 1),
)
def test_the_way_back_is_increasing_so_quantiles_stay_quantiles(kind, low, step, column):
    layer, prepared, _ = FITTED[kind]
    rows = comparable(layer, prepared.values[:2])
    rows[0, column], rows[1] = low, rows[0]
    rows[1, column] = low + step
    below, above = restored(layer, rows, np.array([7.0, 7.0]))
    assert below[column] <= above[column]
    assert np.array_equal(np.delete(below, column), np.delete(above, column))


def test_a_share_of_a_composition_is_no_more_than_the_whole():
    layer, _, _ = FITTED["composition"]
    assert restored(layer, np.full((1, FEATURES), 1e6), np.array([100.0])).max() == 100.0


def test_missing_values_stay_missing():
    layer, prepared, _ = FITTED["composition"]
    z = prepared.values.copy()
    z[:, 2] = np.nan
    there = comparable(layer, z)
    np.testing.assert_array_equal(np.isnan(there), np.isnan(z))
