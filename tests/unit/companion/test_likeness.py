"""The covariance of samples: one, symmetric, positive, and what relevance does to it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.companion import likeness
from immo_hpc.companion.likeness import VIEWS, Source, covariance, relevance

shapes = st.tuples(st.integers(2, 12), st.integers(1, 9), st.integers(0, 10_000))


def drawn(num_rows, width, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_rows, width)).astype(np.float32), rng.uniform(size=width)


@given(shapes)
@settings(max_examples=50, deadline=None)
def test_it_is_a_covariance(shape):
    rows, relevant = drawn(*shape)
    source = Source.of(rows, relevant)
    everyone = np.arange(len(rows))
    found = covariance(source.compared(), source.lengths(everyone))
    np.testing.assert_allclose(np.diag(found), 1)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    # Compared as new samples, they are as alike; a root makes much of what rounding leaves.
    again = covariance(source.compared(rows), source.lengths(everyone))
    np.testing.assert_allclose(again, found, atol=1e-5)


@given(shapes, st.floats(0.1, 100))
@settings(max_examples=50, deadline=None)
def test_units_of_relevance_do_not_matter(shape, factor):
    rows, relevant = drawn(*shape)
    everyone = np.arange(len(rows))
    one, other = Source.of(rows, relevant), Source.of(rows, factor * relevant)
    np.testing.assert_allclose(
        covariance(one.compared(), one.lengths(everyone)),
        covariance(other.compared(), other.lengths(everyone)),
        atol=1e-5,
    )


def test_irrelevant_features_are_looked_at_by_one_view_only():
    rows, _ = drawn(6, 4, 0)
    source = Source.of(rows, np.array([0.5, 0.0, 0.2, 0.0]))
    changed = rows.copy()
    changed[:, [1, 3]] += 5
    for view, before, after in zip(
        VIEWS, source.compared(rows), source.compared(changed), strict=True
    ):
        assert np.allclose(before, after) == (view.sharpness > 0)


def test_relevance_is_the_mean_squared_correlation():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 5)).astype(np.float32), rng.normal(size=(30, 4))
    x[:, 4] = 2.0
    expected = [np.mean([np.corrcoef(a, b)[0, 1] ** 2 for b in y.T]) for a in x.T[:4]]
    np.testing.assert_allclose(relevance(x, y), [*expected, 0.0], atol=1e-6)
    assert relevance(x[:0], y[:0]).tolist() == [0.0] * 5


def test_wide_sources_are_summed_over_their_most_relevant_features(monkeypatch):
    monkeypatch.setattr(likeness, "_MOST_SUMMED", 2)
    rows, _ = drawn(6, 5, 2)
    relevant = np.array([0.1, 0.9, 0.0, 0.8, 0.2])
    source = Source.of(rows, relevant)
    expected = np.abs(rows[:, None, [1, 3]] - rows[None, :, [1, 3]]) @ np.sqrt(relevant[[1, 3]])
    np.testing.assert_allclose(source.compared()[0], expected, rtol=1e-5)
    assert source.tables[2].shape == rows.shape


def test_long_rows_are_compared_in_portions(monkeypatch):
    rows, relevant = drawn(7, 9, 3)
    whole = Source.of(rows, relevant).compared()
    monkeypatch.setattr(likeness, "_CHUNK", 4)
    for one, other in zip(whole, Source.of(rows, relevant).compared(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
