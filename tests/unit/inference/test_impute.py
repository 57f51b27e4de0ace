"""Completing layers: measured values stay, the rest is possible and marked."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from immo_hpc.config import LAYER_KINDS
from immo_hpc.errors import CohortError, UsageError
from immo_hpc.inference.impute import possible


def rectangle(cohort, name):
    layer = cohort.layers[name]
    full = np.full((len(cohort.samples), len(layer.features)), np.nan, dtype=np.float32)
    full[layer.rows] = layer.values
    return full


def test_measured_values_come_back_bit_for_bit(trained, cohort):
    result = trained.complete(trained.prepare(cohort), raw=cohort)
    for name, frame in result.values.items():
        original = rectangle(cohort, name)
        measured = ~np.isnan(original)
        assert frame.dtypes.eq(np.float32).all()
        assert not frame.isna().any(axis=None)
        assert list(frame.index) == cohort.sample_ids
        assert list(frame.columns) == list(cohort.layers[name].features)
        np.testing.assert_array_equal(frame.to_numpy()[measured], original[measured])
        np.testing.assert_array_equal(result.imputed[name].to_numpy(), ~measured)


def test_without_the_raw_cohort_measured_values_are_recomputed(trained, cohort):
    for name, frame in trained.impute(trained.prepare(cohort)).items():
        layer = cohort.layers[name]
        complete_rows = ~np.isnan(layer.values).any(axis=1)
        np.testing.assert_allclose(
            frame.to_numpy()[layer.rows][complete_rows],
            layer.values[complete_rows],
            rtol=2e-4,
            atol=1e-4,
        )


def test_raw_samples_are_matched_by_name(trained, cohort):
    order = np.random.default_rng(0).permutation(len(cohort.samples))
    prepared = trained.prepare(cohort)
    straight = trained.impute(prepared, raw=cohort)
    crooked = trained.impute(prepared, raw=cohort.take(order))
    for name in straight:
        np.testing.assert_array_equal(straight[name].to_numpy(), crooked[name].to_numpy())


def test_a_raw_cohort_of_other_samples_is_refused(trained, cohort):
    with pytest.raises(CohortError, match="not the one that was prepared"):
        trained.impute(trained.prepare(cohort), raw=cohort.take([0, 1]))


@pytest.mark.parametrize("factor", [1, 1e5])
def test_imputed_values_are_possible(trained, cohort, factor):
    """However far out the network's answer lies."""
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        for weight in model.output_weights:
            weight.mul_(factor)
    wild = replace(trained, model=model)
    prepared = wild.prepare(cohort)
    for name, frame in wild.impute(prepared).items():
        values = frame.to_numpy()
        assert np.isfinite(values).all()
        assert name == "cl" or values.min() >= 0
        assert name != "pa" or values.max() <= 1
    assert (wild.generate(prepared, ["mg"], "mb").to_numpy() >= 0).all()


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(LAYER_KINDS),
    values=arrays(np.float64, 5, elements=st.floats(allow_nan=False)),
)
def test_any_value_is_brought_into_the_range_of_its_kind(kind, values):
    result = possible(kind, values)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    if kind != "continuous":
        assert result.min() >= 0
    if kind == "binary":
        assert result.max() <= 1
    inside = possible(kind, result.astype(np.float64))
    np.testing.assert_array_equal(inside, result)


def test_a_composition_keeps_the_total_of_its_sample(trained, cohort):
    """Percent in, percent out: rows that were measured sum to what they summed to."""
    fractions = replace(
        cohort.layers["mg"], values=(cohort.layers["mg"].values / 100).astype(np.float32)
    )
    rescaled = replace(cohort, layers={**cohort.layers, "mg": fractions})
    percent = trained.impute(trained.prepare(cohort), ["mg"])["mg"].to_numpy()
    fraction = trained.impute(trained.prepare(rescaled), ["mg"])["mg"].to_numpy()
    has = np.isin(np.arange(len(percent)), cohort.layers["mg"].rows)
    np.testing.assert_allclose(fraction[has], percent[has] / 100, rtol=1e-4, atol=1e-6)
    median = trained.preparation.layers["mg"].median_scale
    np.testing.assert_allclose(percent[~has].sum(axis=1), median, rtol=1e-5)


def test_whole_layers_follow_the_reconstruction(trained, cohort):
    prepared = trained.prepare(cohort).without("cl")
    z_hat = trained.reconstruct(prepared, ["cl"])["cl"]
    layer = trained.preparation.layers["cl"]
    np.testing.assert_allclose(
        trained.impute(prepared, ["cl"])["cl"].to_numpy(), z_hat * layer.sd + layer.mean, rtol=1e-5
    )


def test_only_the_layers_asked_for(trained, cohort):
    assert list(trained.impute(trained.prepare(cohort), ["mb", "mg"])) == ["mb", "mg"]


def test_generating_looks_at_the_source_alone(trained, cohort):
    prepared = trained.prepare(cohort)
    source_only = prepared.without("tx", "mb", "cl", "pa")
    frame = trained.generate(prepared, ["mg"], "mb")
    assert frame.equals(trained.generate(source_only, ["mg"], "mb"))
    assert list(frame.index) == [cohort.sample_ids[row] for row in cohort.layers["mg"].rows]
    assert list(frame.columns) == list(cohort.layers["mb"].features)
    assert (frame.to_numpy() >= 0).all()


def test_generating_takes_every_sample_with_a_source_layer(trained, cohort):
    frame = trained.generate(trained.prepare(cohort), ["mg", "cl"], "tx")
    expected = np.union1d(cohort.layers["mg"].rows, cohort.layers["cl"].rows)
    assert list(frame.index) == [cohort.sample_ids[row] for row in expected]


@pytest.mark.parametrize("source", [["mb"], ["mg", "mb"], []])
def test_a_target_may_not_be_its_own_source(trained, cohort, source):
    with pytest.raises(UsageError, match="source must name at least one layer"):
        trained.generate(trained.prepare(cohort), source, "mb")


def test_generating_without_any_source_is_told(trained, cohort):
    prepared = trained.prepare(cohort).without("mg")
    with pytest.raises(CohortError, match=r"none of the 40 samples has a source layer \(mg\)"):
        trained.generate(prepared, ["mg"], "mb")
