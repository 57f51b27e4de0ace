import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.analysis import ranks as module
from immo_hpc.analysis.ranks import in_sample_ranks


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100), shift=st.floats(-5, 5))
def test_depth_of_a_sample_changes_nothing(seed, factor, shift):
    values = np.random.default_rng(seed).normal(size=(4, 9))
    changed = values.copy()
    changed[2] = factor * changed[2] + shift
    np.testing.assert_array_equal(in_sample_ranks(values), in_sample_ranks(changed))


def test_ranks_have_mean_0_and_variance_1_and_missing_is_lowest(monkeypatch):
    values = np.random.default_rng(0).normal(size=(7, 12))
    values[3, [2, 5]] = np.nan
    ranks = in_sample_ranks(values)
    np.testing.assert_allclose(ranks.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(ranks, 3, axis=0).var(axis=1), 1, rtol=1e-5)
    assert set(np.argsort(ranks[3])[:2]) == {2, 5}
    assert ranks[3, 2] == ranks[3, 5]
    monkeypatch.setattr(module, "_CHUNK", 20)
    np.testing.assert_array_equal(in_sample_ranks(values), ranks)
    assert in_sample_ranks(values[:0]).shape == (0, 12)
    np.testing.assert_array_equal(in_sample_ranks(np.ones((2, 1))), np.zeros((2, 1)))
