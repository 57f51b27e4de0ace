import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from immo_hpc.analysis.accuracy import feature_table, layer_row, pooled_r2
from immo_hpc.analysis.results import Interval


def _truth(num_items=30, num_features=4, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(num_items, num_features)).astype(np.float32)
    truth[generator.random(truth.shape) < 0.2] = np.nan
    return truth


def test_an_oracle_scores_one_and_the_mean_scores_zero():
    truth = _truth()
    names = list("abcd")
    oracle = feature_table(truth, np.nan_to_num(truth), names)
    for measure, value in (("r2", 1), ("pearson", 1), ("spearman", 1), ("rmse", 0)):
        np.testing.assert_allclose(oracle[measure], value, atol=1e-12)
    mean = feature_table(truth, np.zeros_like(truth), names)
    for measure in ("r2", "pearson", "spearman"):
        np.testing.assert_array_equal(mean[measure], 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_measures_agree_with_scipy_on_what_is_scored(seed):
    truth = _truth(seed=seed)
    said = np.random.default_rng(seed + 1).normal(size=truth.shape).round(1)
    table = feature_table(truth, said, list("abcd"))
    for column in range(4):
        scored = np.isfinite(truth[:, column])
        t, p = truth[scored, column].astype(float), said[scored, column]
        row = table.iloc[column]
        assert row["num_values"] == scored.sum()
        np.testing.assert_allclose(row["rmse"], np.sqrt(np.mean((t - p) ** 2)))
        np.testing.assert_allclose(row["r2"], 1 - np.sum((t - p) ** 2) / np.sum(t**2))
        np.testing.assert_allclose(row["pearson"], pearsonr(t, p).statistic, atol=1e-9)
        np.testing.assert_allclose(row["spearman"], spearmanr(t, p).statistic, atol=1e-9)


def test_what_is_not_scored_does_not_count():
    truth = _truth()
    said = np.zeros(truth.shape)
    poisoned = np.where(np.isfinite(truth), said, np.nan)
    np.testing.assert_array_equal(
        feature_table(truth, said, list("abcd")).to_numpy(),
        feature_table(truth, poisoned, list("abcd")).to_numpy(),
    )
    subjects = np.array(["p"] * 15 + ["q"] * 15)
    assert pooled_r2(truth, said, subjects, 0)[0] == pooled_r2(truth, poisoned, subjects, 0)[0]


def test_undefined_measures_are_nan_not_zero():
    truth = np.array([[2.0, 1.0, np.nan], [2.0, 3.0, np.nan], [2.0, np.nan, np.nan]])
    table = feature_table(truth, np.ones((3, 3)), list("abc"))
    assert np.isnan(table["pearson"]).tolist() == [True, True, True]  # Equal; two; none.
    assert np.isnan(table["r2"]).tolist() == [False, False, True]


def test_the_layer_pools_values_over_features():
    truth, said = _truth(), np.random.default_rng(5).normal(size=(30, 4))
    subjects = np.array([f"p{number // 3}" for number in range(30)])
    value, resampled = pooled_r2(truth, said, subjects, seed=0)
    scored = np.isfinite(truth)
    error = np.sum((truth - said)[scored] ** 2)
    assert value == pytest.approx(1 - error / np.sum(truth[scored].astype(float) ** 2))
    assert np.quantile(resampled, 0.025) < value < np.quantile(resampled, 0.975)
    row = layer_row(truth, feature_table(truth, said, list("abcd")), Interval(value, 0, 1))
    assert row["rmse"] == pytest.approx(np.sqrt(error / scored.sum()))
    assert row["num_values"] == scored.sum()
