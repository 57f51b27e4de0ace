"""Compositions: the log-ratio by direct formula, and the way back, zeros included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.preparation.composition import ZERO_SHARE, fit_composition
from immo_hpc.data.preparation.rows import TrainingRows


def fitted(values):
    return fit_composition(TrainingRows.of(values))


def _composition(seed, *, rows=9, features=7, zeros=0.4, missing=0.0, total=100.0):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(0, 2, (rows, features))
    values[rng.random(values.shape) < zeros] = 0
    values[np.arange(features) % rows, np.arange(features)] = rng.uniform(1, 2, features)
    values *= total / np.maximum(values.sum(1, keepdims=True), 1e-9)
    hidden = rng.random(values.shape) < missing
    hidden[np.arange(features) % rows, np.arange(features)] = False
    hidden[np.arange(rows), np.arange(rows) % features] = False
    values[hidden] = np.nan
    return values.astype(np.float32).astype(np.float64)


def _through_float32(transform, values):
    """Forward and back with what is stored in between rounded to float32."""
    log, scale = transform.forward(values)
    return transform.inverse(log.astype(np.float32).astype(float), scale.astype(np.float32))


def test_log_ratio_equals_the_direct_formula():
    values = _composition(0)
    log, scale = fitted(values).forward(values)
    proportion = values / values.sum(axis=1, keepdims=True)
    expected = np.empty_like(values)
    for row in range(len(values)):
        replaced = [
            value or ZERO_SHARE * min(p for p in proportion[:, column] if p > 0)
            for column, value in enumerate(proportion[row])
        ]
        geometric_mean = np.prod(replaced) ** (1 / len(replaced))
        expected[row] = [np.log(value / geometric_mean) for value in replaced]
    np.testing.assert_allclose(log, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scale, values.sum(axis=1))


def test_complete_rows_sum_to_zero_and_scaling_a_row_changes_only_its_scale():
    values = _composition(1)
    transform = fitted(values)
    log, scale = transform.forward(values)
    np.testing.assert_allclose(log.sum(axis=1), 0, atol=1e-9)
    again, larger = transform.forward(values * 1000)
    np.testing.assert_allclose(again, log, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(larger, scale * 1000)


@given(
    st.integers(0, 10**6),
    st.integers(2, 12),
    st.integers(2, 9),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([1.0, 100.0]),
)
@settings(max_examples=40, deadline=None)
def test_training_rows_come_back_zeros_and_missing_values_too(
    seed, rows, features, zeros, missing, total
):
    values = _composition(
        seed, rows=rows, features=features, zeros=zeros, missing=missing, total=total
    )
    back = _through_float32(fitted(values), values)
    np.testing.assert_allclose(back, values, rtol=2e-5, atol=0)


def test_values_far_from_each_other_come_back():
    values = np.array([[1e-7, 99.9, 0.0], [50.0, 0.0, 50.0], [1e-5, 1.0, 98.0]])
    np.testing.assert_allclose(_through_float32(fitted(values), values), values, rtol=1e-5)


def test_float16_storage_does_not_turn_zeros_into_values():
    values = _composition(3, zeros=0.6)
    transform = fitted(values)
    log, scale = transform.forward(values)
    back = transform.inverse(log.astype(np.float16).astype(float), scale)
    assert ((back == 0) == (values == 0)).all()


def test_new_row_below_detection_comes_back_as_zero_and_the_rest_unchanged():
    training = np.array([[10.0, 40.0, 50.0], [20.0, 30.0, 50.0]])
    new = np.array([[0.01, 40.0, 59.99]])
    back = _through_float32(fitted(training), new)
    np.testing.assert_allclose(back, [[0, 40.0, 59.99]], rtol=1e-5)


def test_row_without_any_kept_feature_above_zero_comes_back_as_zeros():
    transform = fitted(_composition(4))
    log, scale = transform.forward(np.zeros((1, 7)))
    assert np.isfinite(log).all()
    assert scale.tolist() == [0]
    np.testing.assert_array_equal(transform.inverse(log, scale), np.zeros((1, 7)))


def test_lacking_features_that_hold_their_average_share_moves_nothing():
    row = np.array([5.0, 15.0, 30.0, 50.0])
    transform = fitted(np.stack([row, row]))
    complete, scale = transform.forward(row[None])
    partial, partial_scale = transform.forward(np.array([[5.0, np.nan, 30.0, np.nan]]))
    np.testing.assert_allclose(partial[0, [0, 2]], complete[0, [0, 2]], rtol=1e-9)
    np.testing.assert_allclose(partial_scale, scale)


@given(st.integers(0, 10**6), st.floats(0.1, 30))
@settings(max_examples=30, deadline=None)
def test_any_values_close_to_the_scale_asked_for(seed, spread):
    transform = fitted(_composition(5))
    z = np.random.default_rng(seed).normal(0, spread, (4, 7))
    scale = np.array([1.0, 100.0, 3.0, 0.5])
    back = transform.inverse(z, scale)
    assert (back >= 0).all()
    np.testing.assert_allclose(back.sum(axis=1), scale, rtol=1e-9)


def test_median_scale_is_the_median_total():
    values = np.array([[1.0, 3.0], [2.0, 8.0], [1.0, 1.0]])
    assert fitted(values).median_scale == pytest.approx(4.0)
