"""Features that join a fitted layer: old ones keep every bit, new ones come back."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.data.preparation.alone import comparable
from immo_hpc.data.preparation.alone import restored as alone_restored
from immo_hpc.data.preparation.join import join_features
from immo_hpc.errors import CohortError, ConfigError

NUM_OLD, NUM_NEW = 6, 4
KINDS = ["composition", "counts", "intensity", "continuous", "binary"]
CONFIG = PreparationConfig(min_measured=0.1)


def make_layer(kind, seed, num_rows=40, num_features=NUM_OLD + NUM_NEW):
    """A layer with zeros and missing values, as its kind has them; no row lacks all."""
    rng = np.random.default_rng(seed)
    values = rng.lognormal(1.0, 1.0, (num_rows, num_features))
    if kind in ("composition", "counts", "intensity"):
        values[rng.random(values.shape) < 0.2] = 0
    if kind == "composition":
        values = 100 * values / values.sum(axis=1, keepdims=True)
    elif kind == "counts":
        values = np.floor(1000 * values)
    elif kind == "continuous":
        values = np.log(values)
    elif kind == "binary":
        values = (values > 2).astype(float)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 0] = np.where(np.isnan(values[:, 0]), 1, values[:, 0])
    values[0] = 1  # every feature is above zero somewhere
    names = tuple(f"f{number}" for number in range(num_features))
    return Layer("x", kind, names, values.astype(np.float32), np.arange(num_rows))


def part(layer, columns):
    names = tuple(layer.features[column] for column in columns)
    return Layer(layer.name, layer.kind, names, layer.values[:, columns], layer.rows)


def fitted(layer, config=CONFIG):
    samples = pd.DataFrame(index=[f"s{row}" for row in range(len(layer.rows))])
    cohort = Cohort(samples, {layer.name: layer})
    return fit_preparation(cohort, np.arange(len(layer.rows)), config).layers[layer.name]


@settings(max_examples=40)
@given(
    kind=st.sampled_from([*KINDS, "quantile"]),
    seed=st.integers(0, 10**6),
    tmm=st.booleans(),
    at_once=st.booleans(),
)
def test_old_features_keep_every_bit_and_new_ones_come_back(kind, seed, tmm, at_once):
    quantile = kind == "quantile"
    config = CONFIG.model_copy(update={"tmm": tmm, "quantile": quantile})
    layer = make_layer("intensity" if quantile else kind, seed)
    old = fitted(part(make_layer(layer.kind, seed + 1), range(NUM_OLD)), config)
    rows = np.arange(len(layer.rows))
    steps = [part(layer, range(NUM_OLD + 2)), layer] if not at_once else [layer]
    grown = old
    for step in steps:
        grown = join_features(grown, step, rows, config).preparation
    assert grown.features[: len(old.features)] == old.features
    assert set(grown.features[len(old.features) :]) <= set(layer.features[NUM_OLD:])
    assert len(grown.features) > len(old.features)

    before, after = old.apply(layer), grown.apply(layer)
    shared = np.isin(after.rows, before.rows)
    num_old = len(old.features)
    np.testing.assert_array_equal(after.values[shared][:, :num_old], before.values)
    np.testing.assert_array_equal(after.scale[shared], before.scale)

    np.testing.assert_array_equal(
        grown.invert(after.values, after.scale)[shared][:, :num_old],
        old.invert(before.values, before.scale),
    )
    joined = after.values[:, num_old:]
    place = [layer.features.index(name) for name in grown.features[num_old:]]
    original = layer.values[after.rows][:, place]
    known = ~np.isnan(joined)
    assert (np.isnan(original) <= ~known).all()
    if not quantile:
        restored = grown.invert(after.values, after.scale)[:, num_old:]
        np.testing.assert_allclose(restored[known], original[known], rtol=2e-4, atol=1e-4)
        alone = alone_restored(grown, comparable(grown, after.values), after.scale)[:, num_old:]
        np.testing.assert_allclose(alone[known], original[known], rtol=3e-4, atol=1e-4)
    # Learnt on these rows: each joined feature has mean 0 and sd 1 among them.
    np.testing.assert_allclose(np.nanmean(joined, axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.nanstd(joined, axis=0), 1, atol=1e-4)

    again = Preparation({"x": grown}).to_dict()
    assert again["version"] == 2
    read = Preparation.from_dict(json.loads(json.dumps(again))).layers["x"]
    np.testing.assert_array_equal(read.apply(layer).values, after.values)
    assert read.to_dict() == grown.to_dict()


def test_a_composition_is_expressed_against_its_old_features():
    """A feature that holds a tenth of the old total, times noise, whatever else joins."""
    layer = make_layer("composition", 3)
    values = layer.values.copy()
    values[:, NUM_OLD] = np.nansum(values[:, :NUM_OLD], axis=1) * 0.1
    layer = Layer("x", "composition", layer.features, values, layer.rows)
    old = fitted(part(layer, range(NUM_OLD)))
    grown = join_features(old, layer, layer.rows, CONFIG).preparation
    alone = join_features(old, part(layer, range(NUM_OLD + 1)), layer.rows, CONFIG).preparation
    place = grown.features.index(f"f{NUM_OLD}")
    np.testing.assert_array_equal(
        grown.apply(layer).values[:, place], alone.apply(layer).values[:, -1]
    )


def test_counts_are_expressed_by_the_old_library():
    layer = make_layer("counts", 4)
    old = fitted(part(layer, range(NUM_OLD)), CONFIG.model_copy(update={"tmm": False}))
    grown = join_features(old, layer, layer.rows, CONFIG).preparation
    prepared = grown.apply(layer)
    name = grown.features[len(old.features)]
    counts = layer.values[prepared.rows, layer.features.index(name)].astype(np.float64)
    log = np.log2(1e6 * counts / prepared.scale + old.transform.pseudo)
    column = len(old.features)
    z = (log - grown.mean[column]) / grown.sd[column]
    np.testing.assert_allclose(prepared.values[:, column], z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["composition", "counts"])
def test_a_row_without_old_features_is_not_measured(kind):
    layer = make_layer(kind, 5)
    old = fitted(part(layer, range(NUM_OLD)))
    grown = join_features(old, layer, layer.rows, CONFIG).preparation
    values = layer.values[:3].copy()
    values[1, :NUM_OLD] = np.nan  # nothing to express the others against
    values[2, :NUM_OLD] = 0
    prepared = grown.apply(Layer("x", kind, layer.features, values, np.arange(3)))
    assert prepared.rows.tolist() == [0, 2]
    joined = prepared.values[:, len(old.features) :]
    assert np.isnan(joined[1]).all()
    assert not np.isnan(joined[0]).all()


def test_filters_tell_what_did_not_join():
    layer = make_layer("composition", 6)
    values = layer.values.copy()
    values[1:, 6] = np.nan
    values[:, 7] = 0
    layer = Layer("x", "composition", layer.features, values, layer.rows)
    old = fitted(part(layer, range(NUM_OLD)))
    found = join_features(old, layer, layer.rows, CONFIG)
    assert found.features == ("f8", "f9")
    assert found.dropped["min_measured"] == ("f6",)
    assert found.dropped["min_prevalence"] == ("f7",)
    flat = Layer("x", "continuous", ("a", "b"), np.ones((9, 2), np.float32), np.arange(9))
    flat.values[:, 0] = np.arange(9)
    old = fitted(part(flat, [0]))
    found = join_features(old, flat, flat.rows, CONFIG)
    assert (found.preparation, found.dropped["min_sd"]) == (old, ("b",))


def test_nothing_to_learn_from_is_refused():
    layer = make_layer("composition", 7)
    old = fitted(part(layer, range(NUM_OLD)))
    with pytest.raises(CohortError, match=r"layer 'x'.*4 features are new.*--add-features"):
        join_features(old, layer, np.empty(0, np.int64), CONFIG)


def test_a_preparation_of_a_later_version_is_refused():
    with pytest.raises(ConfigError, match=r"version 3 was found; .* versions 1 and 2"):
        Preparation.from_dict({"format": "immo-preparation", "version": 3, "layers": []})
