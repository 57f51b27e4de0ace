"""Compiled sums of absolute differences against the definition."""

import numpy as np
import pytest

from immo_hpc.companion.differences import absolute_differences

SHAPES = [(0, 3, 5), (3, 0, 5), (2, 3, 0), (1, 1, 1), (5, 7, 13), (17, 31, 129), (4, 6, 1024)]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_definition(shape):
    num_items, num_rows, width = shape
    rng = np.random.default_rng(width)
    a = rng.normal(size=(num_items, width)).astype(np.float32)
    b = rng.normal(size=(num_rows, width)).astype(np.float32)
    b[: min(shape[:2])] = a[: min(shape[:2])]
    expected = np.abs(a.astype(np.float64)[:, None] - b.astype(np.float64)).sum(axis=-1)
    found = absolute_differences(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (np.diag(found) == 0).all()


def test_rows_that_are_not_neighbours_in_memory():
    wide = np.random.default_rng(0).normal(size=(9, 20)).astype(np.float32)
    np.testing.assert_array_equal(
        absolute_differences(wide[::2, ::3], wide[:, ::3]),
        absolute_differences(wide[::2, ::3].copy(), wide[:, ::3].copy()),
    )
