import numpy as np
import pytest
from sklearn.linear_model import Ridge

from immo_hpc.analysis import ridge


@pytest.fixture
def tables():
    generator = np.random.default_rng(0)
    factor = generator.normal(size=(60, 2))
    x = factor @ generator.normal(size=(2, 7)) + generator.normal(size=(60, 7))
    y = factor @ generator.normal(size=(2, 3)) + generator.normal(size=(60, 3))
    return x, y


def _only(monkeypatch, x, penalty):
    """Leave one penalty to choose from; it is given relative to the rows' squared length."""
    monkeypatch.setattr(ridge, "_PENALTIES", np.array([penalty / (x**2).sum(axis=1).mean()]))


@pytest.mark.parametrize("num_rows", [5, 40])
def test_layer_agrees_with_scikit_learn(tables, monkeypatch, num_rows):
    x, y = (table[:num_rows] for table in tables)
    _only(monkeypatch, x - x.mean(axis=0), 2.5)
    new = tables[0][40:]
    expected = Ridge(alpha=2.5).fit(x, y).predict(new)
    np.testing.assert_allclose(ridge.predict_layer(x, y, (x, y), new), expected, rtol=1e-9)


@pytest.mark.parametrize("num_rows", [5, 40])
def test_values_agree_with_one_regression_per_feature(tables, monkeypatch, num_rows):
    x, new = tables[0][:num_rows], tables[0][40:].copy()
    _only(monkeypatch, x, 2.5)
    new[:, 3] = 0  # Hidden.
    said = ridge.predict_values(x, (x, x), new)[:, 3]
    others = np.delete(np.arange(7), 3)
    model = Ridge(alpha=2.5, fit_intercept=False).fit(x[:, others], x[:, 3])
    np.testing.assert_allclose(said, model.predict(new[:, others]), rtol=1e-8)


def test_the_penalty_that_suits_the_tuning_samples_is_taken(tables):
    x, y = tables
    new = x[40:]
    linked = ridge.predict_layer(x[:30], y[:30], (x[30:40], y[30:40]), new)
    # Targets that are nothing but their mean: the largest penalty foretells them best.
    unlinked = ridge.predict_layer(x[:30], y[:30], (x[30:40], np.zeros((10, 3))), new)
    assert np.abs(unlinked - y[:30].mean(axis=0)).max() < 0.05 * np.abs(linked).max()


def test_no_tuning_samples_mean_the_middle_penalty(tables):
    x, y = tables
    nobody = (np.empty((0, 7)), np.empty((0, 3)))
    said = ridge.predict_layer(x[:30], y[:30], nobody, x[30:])
    assert np.isfinite(said).all()
    weakest = Ridge(alpha=1e-9).fit(x[:30], y[:30]).predict(x[30:])
    assert np.abs(said).mean() < np.abs(weakest).mean()
