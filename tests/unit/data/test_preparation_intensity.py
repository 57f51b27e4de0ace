"""Intensities: logs, quantile normalisation, and the way back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.preparation.intensity import OFFSET_SHARE, fit_intensity, smallest_positive
from immo_hpc.data.preparation.rows import TrainingRows


def fitted(values, *, quantile):
    rows = TrainingRows.of(values)
    return fit_intensity(rows, smallest_positive(values), quantile=quantile)


def _intensities(seed, *, missing=0.2, zeros=0.2, shape=(10, 6)):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(10, 4, shape)
    values[rng.random(shape) < zeros] = 0
    values[rng.random(shape) < missing] = np.nan
    values[np.arange(shape[0]), np.arange(shape[0]) % shape[1]] = 7.5
    return values


def test_log_has_half_the_smallest_positive_value_as_offset():
    values = np.array([[0.0, 8.0], [4.0, np.nan], [12.0, 16.0]])
    log, scale = fitted(values, quantile=False).forward(values)
    offset = OFFSET_SHARE * np.array([4.0, 8.0])
    np.testing.assert_allclose(log, np.log2(values + offset))
    np.testing.assert_array_equal(scale, [1, 1, 1])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_intensities_come_back_for_new_samples_too(seed):
    transform = fitted(_intensities(seed), quantile=False)
    new = _intensities(seed + 1, shape=(4, 6))
    log, scale = transform.forward(new)
    back = transform.inverse(log.astype(np.float32).astype(float), scale)
    np.testing.assert_allclose(back, new, rtol=5e-5, atol=1e-4 * transform.offset.max())
    assert (back[new == 0] == 0).all()


def test_quantile_gives_every_complete_row_the_same_distribution():
    values = _intensities(0, missing=0, zeros=0) + np.random.default_rng(1).random((10, 6))
    transform = fitted(values, quantile=True)
    log, _ = transform.forward(values)
    sorted_logs = np.sort(np.log2(values + transform.offset), axis=1)
    expected = sorted_logs.mean(axis=0)
    np.testing.assert_allclose(np.sort(log, axis=1), np.tile(expected, (10, 1)))
    np.testing.assert_array_equal(
        log.argsort(axis=1), np.log2(values + transform.offset).argsort(axis=1)
    )


def test_quantile_inverse_is_the_value_in_a_sample_with_the_reference_distribution():
    values = _intensities(2, missing=0, zeros=0)
    transform = fitted(values, quantile=True)
    log, scale = transform.forward(values)
    back = transform.inverse(log, scale)
    np.testing.assert_allclose(back, np.maximum(2**log - transform.offset, 0), rtol=1e-9)


def test_quantile_keeps_missing_values_and_does_not_depend_on_other_rows():
    values = _intensities(3)
    transform = fitted(values, quantile=True)
    together, _ = transform.forward(values)
    alone, _ = transform.forward(values[1:2])
    np.testing.assert_array_equal(np.isnan(together), np.isnan(values))
    np.testing.assert_array_equal(alone[0], together[1])
