import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis import span as module
from immo_hpc.analysis.linear import fit_linear
from immo_hpc.analysis.span import leading_components, span_of


def _table(rows, features, seed=0, rank=None):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, features))
    if rank is not None:
        x = generator.normal(size=(rows, rank)) @ generator.normal(size=(rank, features))
    return x.astype(np.float32)


@pytest.mark.parametrize(("rows", "features"), [(30, 200), (40, 40), (60, 7), (1, 5)])
def test_nothing_is_left_out_of_few_rows(rows, features):
    x = _table(rows, features)
    span = span_of(x, seed=0)
    z = span.coordinates(x)
    assert z.shape[1] <= min(rows, features) or span.basis is None
    np.testing.assert_allclose(z @ z.T, x.astype(float) @ x.T, atol=1e-2, rtol=1e-4)


def test_a_ridge_is_the_same_along_the_directions():
    x, new = _table(40, 300), _table(10, 300, seed=1)
    y, subject = np.arange(40) % 2, np.arange(40)
    span = span_of(x, seed=0)
    own = fit_linear(span.coordinates(x), y, subject, 2, 3.0)
    said = new @ span.to_features(own.weight) + own.intercept
    np.testing.assert_allclose(said, fit_linear(x, y, subject, 2, 3.0).scores(new), atol=5e-3)


def test_few_rows_of_low_rank_have_few_directions():
    span = span_of(_table(20, 100, rank=3), seed=0)
    assert span.basis is not None
    assert span.basis.shape[1] < 20


def test_many_rows_and_features_keep_the_directions_of_most_variance(monkeypatch):
    monkeypatch.setattr(module, "_EXACT", 50)
    monkeypatch.setattr(module, "_MOST", 10)
    monkeypatch.setattr(module, "_CHUNK", 1000)
    x = _table(120, 90, rank=6) + 0.01 * _table(120, 90, seed=2)
    basis = span_of(x, seed=0).basis
    assert basis is not None
    assert basis.shape == (90, 10)
    np.testing.assert_allclose(basis.T @ basis, np.eye(10), atol=1e-4)
    left = x - x @ basis @ basis.T
    assert (left**2).sum() < 1e-3 * (x**2).sum()
    np.testing.assert_array_equal(basis, span_of(x, seed=0).basis)


def test_the_reference_is_independent():
    """A logistic regression of scikit-learn on all features, fitted without the directions."""
    x, y = _table(50, 400), np.arange(50) % 2
    span = span_of(x, seed=0)
    z = span.coordinates(x)
    settings = {"C": 0.01, "tol": 1e-10, "max_iter": 10_000}
    whole = LogisticRegression(**settings).fit(x.astype(float), y)
    turned = LogisticRegression(**settings).fit(z, y)
    np.testing.assert_allclose(span.to_features(turned.coef_.T)[:, 0], whole.coef_[0], atol=1e-5)


def test_leading_components_are_those_of_the_chosen_rows():
    x = (_table(60, 200, rank=5) * 3 + _table(60, 200, seed=1)).astype(np.float32)
    chosen = np.arange(60) < 40
    z = leading_components(x, chosen, 4, seed=0)
    expected = PCA(4, svd_solver="full").fit(x[chosen]).transform(x)
    np.testing.assert_allclose(np.abs(z), np.abs(expected), rtol=1e-3, atol=1e-2)
