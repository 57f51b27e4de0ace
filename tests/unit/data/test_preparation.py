"""The preparation as a whole: filters, z-scores, names, saving, no leakage, errors."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import LAYER_KINDS, PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.errors import CohortError, ConfigError

CONFIG = PreparationConfig()
TRAIN = np.arange(16)


def _values(kind, rng, shape):
    if kind == "composition":
        values = rng.dirichlet(np.full(shape[1], 0.6), shape[0]) * 100
        values[values < 1] = 0
        return values
    if kind == "counts":
        return rng.poisson(rng.lognormal(3, 1, shape[1]), shape)
    if kind == "intensity":
        return rng.lognormal(10, 2, shape)
    if kind == "continuous":
        return rng.normal(3, 5, shape)
    return rng.integers(0, 2, shape)


def _layer(kind, seed=0, *, num_samples=24, num_features=8, every=1):
    rng = np.random.default_rng([seed, LAYER_KINDS.index(kind)])
    rows = np.arange(0, num_samples, every)
    values = _values(kind, rng, (len(rows), num_features)).astype(np.float32)
    features = tuple(f"{kind}_{number}" for number in range(num_features))
    return Layer(kind, kind, features, values, rows)


def _cohort(*layers, num_samples=24):
    index = pd.Index([f"s{number}" for number in range(num_samples)], name="sample_id")
    samples = pd.DataFrame({"label": "a", "person": "p", "weight": 1.0}, index=index)
    return Cohort(samples, {layer.name: layer for layer in layers}, Roles("label", None, "person"))


def _with(layer, **changes):
    return dataclasses.replace(layer, **changes)


ALL = _cohort(*(_layer(kind, every=1 + number % 2) for number, kind in enumerate(LAYER_KINDS)))


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_training_rows_are_z_scores_and_values_come_back(kind):
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    layer, prepared = ALL.layers[kind], preparation.apply(ALL).layers[kind]
    training = np.isin(prepared.rows, TRAIN)
    assert prepared.values.dtype == np.float32
    assert prepared.scale.dtype == np.float32
    np.testing.assert_allclose(prepared.values[training].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(prepared.values[training].std(axis=0), 1, atol=1e-5)
    columns = [layer.features.index(name) for name in prepared.features]
    back = preparation.invert(kind, prepared.values[training], prepared.scale[training])
    np.testing.assert_allclose(back, layer.values[training][:, columns], rtol=2e-5, atol=2e-6)


def test_z_scores_of_continuous_values_by_formula_with_missing_values():
    layer = _layer("continuous")
    layer.values[3:6, 2] = np.nan
    cohort = _cohort(layer)
    prepared = fit_preparation(cohort, TRAIN, CONFIG).apply(cohort).layers["continuous"]
    column = layer.values[:, 2].astype(float)
    known = [value for value in column[:16] if value == value]
    mean = sum(known) / len(known)
    sd = (sum((value - mean) ** 2 for value in known) / len(known)) ** 0.5
    np.testing.assert_allclose(prepared.values[:, 2], (column - mean) / sd, rtol=1e-5)


def test_test_samples_change_nothing_in_the_preparation():
    fitted = fit_preparation(ALL, TRAIN, CONFIG).to_dict()
    changed = {}
    for name, layer in ALL.layers.items():
        values = layer.values.copy()
        held_out = layer.rows >= 16
        values[held_out] = np.inf if name == "continuous" else values[held_out][::-1] * 0
        changed[name] = _with(layer, values=values)
    poisoned = dataclasses.replace(ALL, layers=changed)
    assert fit_preparation(poisoned, TRAIN, CONFIG).to_dict() == fitted
    assert fit_preparation(ALL.take(TRAIN), TRAIN[::-1], CONFIG).to_dict() == fitted


@pytest.mark.parametrize("quantile", [True, False])
def test_saved_as_json_and_read_again_it_is_the_same(quantile):
    layer = _layer("counts")
    layer.values[1, 1] = np.nan
    cohort = dataclasses.replace(ALL, layers={**ALL.layers, "counts": layer})
    config = PreparationConfig(quantile=quantile)
    preparation = fit_preparation(cohort, TRAIN, config)
    text = json.dumps(preparation.to_dict(), allow_nan=False, sort_keys=True)
    again = Preparation.from_dict(json.loads(text))
    assert again.to_dict() == preparation.to_dict()
    assert list(again.layers) == list(cohort.layers)
    for name, expected in preparation.apply(cohort).layers.items():
        got = again.apply(cohort).layers[name]
        np.testing.assert_array_equal(got.values, expected.values)
        np.testing.assert_array_equal(
            again.invert(name, got.values), preparation.invert(name, expected.values)
        )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 3}, r"version 3 was found; .* 'immo-preparation', versions 1 and 2"),
        ({"format": "other"}, "format 'other'"),
        ({"layers": [{"name": "mg"}]}, "damaged.*KeyError"),
        ({"layers": None}, "damaged"),
    ],
)
def test_other_versions_and_damaged_content_are_refused(change, match):
    content = fit_preparation(ALL, TRAIN, CONFIG).to_dict()
    with pytest.raises(ConfigError, match=match):
        Preparation.from_dict({**content, **change})


def test_features_are_matched_by_name():
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    rng = np.random.default_rng(0)
    shuffled = {}
    for name, layer in ALL.layers.items():
        order = rng.permutation(len(layer.features))
        features = (*(layer.features[place] for place in order), "extra")
        values = np.column_stack([layer.values[:, order], np.ones(len(layer.rows))])
        shuffled[name] = _with(layer, features=features, values=values.astype(np.float32))
    new = dataclasses.replace(ALL, layers=shuffled)
    expected, got = preparation.apply(ALL), preparation.apply(new)
    for name in ALL.layers:
        np.testing.assert_array_equal(got.layers[name].values, expected.layers[name].values)
        np.testing.assert_array_equal(got.layers[name].scale, expected.layers[name].scale)
    assert preparation.match_features(ALL) == ()
    notices = preparation.match_features(new)
    assert len(notices) == len(ALL.layers)
    assert "layer 'counts': 1 of 9 features are unknown to the model and ignored: extra." in notices


def test_missing_features_and_layers_count_as_not_measured_and_are_told():
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    full = ALL.layers["intensity"]
    part = _with(full, features=full.features[3:], values=full.values[:, 3:], kind="continuous")
    new = dataclasses.replace(ALL, layers={"intensity": part, "odd": _with(part, name="odd")})
    prepared = preparation.apply(new)
    values = prepared.layers["intensity"].values
    assert np.isnan(values[:, :3]).all()
    np.testing.assert_array_equal(
        values[:, 3:], preparation.apply(ALL).layers["intensity"].values[:, 3:]
    )
    assert list(prepared.layers) == list(LAYER_KINDS)
    assert prepared.layers["counts"].values.shape == (0, 8)
    told = " ".join(preparation.match_features(new))
    assert "layer 'odd' is not one of the model's" in told
    assert "layer 'counts' is absent" in told
    assert "3 of the model's 8 features are missing" in told
    assert "intensity_0, intensity_1, intensity_2" in told
    assert "prepared as intensity" in told


def test_rows_without_any_known_value_are_not_measured():
    layer = _layer("continuous")
    layer.values[5] = np.nan
    cohort = _cohort(layer)
    prepared = fit_preparation(cohort, TRAIN, CONFIG).apply(cohort).layers["continuous"]
    assert 5 not in prepared.rows
    assert len(prepared.rows) == len(prepared.values) == len(prepared.scale) == 23


def test_rows_are_the_same_in_one_block_and_in_many(monkeypatch):
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    whole = preparation.apply(ALL).layers
    back = {name: preparation.invert(name, whole[name].values) for name in whole}
    monkeypatch.setattr("immo_hpc.data.preparation.layer._BLOCK_VALUES", 20)
    monkeypatch.setattr("immo_hpc.data.preparation.layer.BLOCK_BYTES", 20 * 4)
    for name, layer in preparation.apply(ALL).layers.items():
        np.testing.assert_array_equal(layer.values, whole[name].values)
        np.testing.assert_array_equal(preparation.invert(name, layer.values), back[name])


def test_the_sample_table_keeps_the_columns_with_a_role_and_the_split():
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    split = np.array(["train"] * 16 + ["test"] * 8)
    prepared = preparation.apply(ALL, split=split)
    assert list(prepared.samples.columns) == ["label", "person"]
    assert prepared.indices("test").tolist() == list(range(16, 24))


def test_filters_tell_what_they_removed():
    layer = _layer("composition")
    layer.values[1:, 0] = 0
    layer.values[3:, 1] = np.nan
    layer.values[:, 2:4] = 0
    layer.values[20, 3] = 5
    config = PreparationConfig(min_prevalence=0.1, min_measured=0.5)
    fitted = fit_preparation(_cohort(layer), TRAIN, config).layers["composition"]
    assert fitted.features == tuple(f"composition_{number}" for number in range(4, 8))
    assert fitted.dropped == {
        "min_measured": ("composition_1",),
        "min_prevalence": ("composition_0", "composition_2", "composition_3"),
        "min_sd": (),
    }
    assert fitted.dropped_counts == {"min_measured": 1, "min_prevalence": 3, "min_sd": 0}


def test_constant_features_go():
    layer = _layer("continuous")
    layer.values[:16, 4] = 0.1
    fitted = fit_preparation(_cohort(layer), TRAIN, PreparationConfig(min_sd=0))
    assert fitted.layers["continuous"].dropped["min_sd"] == ("continuous_4",)


def test_log_ratio_is_taken_over_the_features_that_stay():
    values = np.random.default_rng(0).uniform(1, 2, (24, 4)).astype(np.float32)
    layer = _with(_layer("composition"), features=tuple("abcd"), values=values)
    config = PreparationConfig(min_sd=0.05)
    values[:, 3] = np.exp(np.log(values[:, :3]).mean(axis=1))
    fitted = fit_preparation(_cohort(layer), TRAIN, config)
    assert fitted.layers["composition"].features == ("a", "b", "c")
    prepared = fitted.apply(_cohort(layer)).layers["composition"]
    np.testing.assert_allclose(prepared.scale, values[:, :3].sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["continuous", "binary", "intensity"])
def test_a_layer_of_one_feature_works(kind):
    cohort = _cohort(_layer(kind, num_features=1))
    prepared = fit_preparation(cohort, TRAIN, CONFIG).apply(cohort).layers[kind]
    assert prepared.values.shape == (24, 1)
    assert np.isfinite(prepared.values).all()


@pytest.mark.parametrize("kind", ["composition", "counts"])
def test_one_feature_of_a_relative_kind_is_refused(kind):
    cohort = _cohort(_layer(kind, num_features=1))
    with pytest.raises(CohortError, match=rf"kind {kind}: one feature is left.*'continuous'"):
        fit_preparation(cohort, TRAIN, CONFIG)


def test_a_layer_without_training_sample_is_refused():
    layer = _layer("counts")
    late = _with(layer, values=layer.values[18:], rows=layer.rows[18:])
    with pytest.raises(CohortError, match=r"layer 'counts': it is measured in no training sample"):
        fit_preparation(_cohort(late), TRAIN, CONFIG)


def test_no_feature_left_says_which_filter_removed_how_many():
    layer = _layer("composition")
    layer.values[:, :3] = np.nan
    layer.values[:, 3:] = np.where(np.arange(24)[:, None] == 2, 5.0, 0.0)
    config = PreparationConfig(min_prevalence=0.2)
    match = r"of 8, .*min_measured \(0.2\) removed 3, .*min_prevalence \(0.2\) removed 5"
    with pytest.raises(CohortError, match=match):
        fit_preparation(_cohort(layer), TRAIN, config)


@pytest.mark.parametrize(
    ("kind", "value", "match"),
    [
        ("composition", -1, r"sample 's2', feature 'composition_3' is -1.0.*0 or more"),
        ("intensity", -1, "'continuous' if it is in logs"),
        ("continuous", np.inf, "finite"),
        ("binary", 2, "expected 0 or 1"),
    ],
)
def test_values_that_a_kind_does_not_allow_are_refused(kind, value, match):
    good = _cohort(_layer(kind))
    preparation = fit_preparation(good, TRAIN, CONFIG)
    bad = _layer(kind)
    bad.values[2, 3] = value
    with pytest.raises(CohortError, match=match):
        fit_preparation(_cohort(bad), TRAIN, CONFIG)
    with pytest.raises(CohortError, match=match):
        preparation.apply(_cohort(bad))


def test_invert_without_scale_uses_the_training_median():
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    layer = preparation.layers["composition"]
    back = preparation.invert("composition", np.zeros((2, len(layer.features))))
    np.testing.assert_allclose(back.sum(axis=1), layer.median_scale)


def test_invert_refuses_other_shapes():
    preparation = fit_preparation(ALL, TRAIN, CONFIG)
    with pytest.raises(ValueError, match=r"z must be \(row, 8\)"):
        preparation.invert("counts", np.zeros((2, 3)))
