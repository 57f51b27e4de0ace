import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from immo_hpc.analysis.bootstrap import (
    Ranked,
    auc,
    by_subject,
    draw_subjects,
    interval,
    macro_auc,
    resampled_auc,
    resampled_roc,
    roc,
)


def _own_subjects(scores, y):
    return Ranked(np.asarray(scores, float).reshape(len(y), -1), np.asarray(y), np.arange(len(y)))


def test_auc_counts_pairs_by_hand():
    # Pairs (positive, negative): 3>1, 3>2, 2>1, 2=2 (half): 3.5 of 4.
    value = auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    assert value.tolist() == [3.5 / 4]


def test_auc_without_one_class_is_undefined():
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([True, True]))).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2))
def test_weighted_auc_is_the_auc_of_repeated_items(items):
    score, positive, times = (np.array(part) for part in zip(*items, strict=True))
    repeated = np.repeat(positive, times)
    value = auc(score.astype(float), positive, times[None].astype(float))[0]
    if repeated.all() or not repeated.any():
        assert np.isnan(value)
    else:
        np.testing.assert_allclose(value, roc_auc_score(repeated, np.repeat(score, times)))


def test_macro_auc_is_the_mean_over_classes_against_the_rest():
    scores = np.array([[3, 0, 1], [2, 1, 0], [0, 2, 3], [1, 3, 2], [0, 1, 2], [1, 0, 3]], float)
    y = np.array([0, 0, 1, 1, 2, 2])
    expected = np.mean([roc_auc_score(y == k, scores[:, k]) for k in range(3)])
    np.testing.assert_allclose(macro_auc(_own_subjects(scores, y)), [expected])


def test_a_class_absent_from_the_test_side_is_left_out_of_the_mean():
    scores = np.array([[1, 0, 5], [0, 1, 5], [0, 1, 5]], float)
    assert macro_auc(_own_subjects(scores, [0, 1, 1])).tolist() == [1.0]


def test_by_subject_averages_within_subject_and_label():
    ranked = Ranked(
        np.array([[0.0], [2.0], [5.0], [7.0]]), np.array([0, 0, 1, 1]), np.zeros(4, int)
    )
    persons = by_subject(ranked)
    assert persons.scores.ravel().tolist() == [1.0, 6.0]
    assert persons.y.tolist() == [0, 1]


def test_resamples_hold_as_many_subjects_of_each_class_as_there_are():
    stratum = np.array([0, 0, 0, 1, 1, 2])
    drawn = draw_subjects(stratum, 50, seed=1)
    for code, count in ((0, 3), (1, 2), (2, 1)):
        assert (drawn[:, stratum == code].sum(axis=1) == count).all()
    np.testing.assert_array_equal(drawn, draw_subjects(stratum, 50, seed=1))
    assert (drawn != draw_subjects(stratum, 50, seed=2)).any()


def test_resampling_subjects_moves_all_their_samples_together():
    ranked = Ranked(np.array([[0.0], [3.0], [1.0], [2.0]]), np.array([0, 0, 1, 1]), [0, 0, 1, 2])
    ranked = Ranked(ranked.scores, ranked.y, np.array(ranked.subject))
    drawn = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
    assert resampled_auc(ranked, drawn).tolist() == [0.5, 0.5]
    np.testing.assert_allclose(resampled_auc(ranked, np.array([[1.0, 1.0, 1.0]])), [0.5])


def test_interval_covers_the_true_auc_in_most_studies():
    generator = np.random.default_rng(0)
    truth = norm.cdf(1 / np.sqrt(2))  # Two normals one sd apart.
    y = np.repeat([0, 1], 30)
    covered = 0
    for study in range(100):
        ranked = _own_subjects(generator.normal(size=60) + y, y)
        resampled = resampled_auc(ranked, draw_subjects(y, 200, seed=study))
        found = interval(macro_auc(ranked)[0], resampled)
        assert found.lower <= found.value <= found.upper
        covered += found.lower <= truth <= found.upper
    # 95 % nominal, about 92 % for percentile intervals at this size; sd of the count 2.7.
    assert 84 <= covered <= 100


def test_interval_of_nothing_is_undefined():
    found = interval(0.5, np.array([np.nan]))
    assert np.isnan([found.lower, found.upper]).all()


def test_roc_of_a_perfect_ranking_is_one_everywhere():
    grid = np.linspace(0, 1, 11)
    curve = roc(_own_subjects([0, 1, 2, 3], [0, 0, 1, 1]), grid)
    assert (curve == 1).all()


def test_area_under_the_roc_is_the_auc():
    generator = np.random.default_rng(3)
    y = np.repeat([0, 1], [40, 25])
    ranked = _own_subjects(generator.normal(size=65) + y, y)
    grid = np.linspace(0, 1, 4001)
    curve = roc(ranked, grid)[0]
    assert (np.diff(curve) >= 0).all()
    # The grid of 4001 points cuts each of 40 steps by at most half a point.
    assert np.trapezoid(curve, grid) == pytest.approx(macro_auc(ranked)[0], abs=0.005)


def test_roc_band_holds_the_curve():
    generator = np.random.default_rng(4)
    y = np.repeat([0, 1], 30)
    ranked = _own_subjects(generator.normal(size=60) + y, y)
    grid = np.linspace(0, 1, 21)
    lower, upper = resampled_roc(ranked, grid, draw_subjects(y, 300, seed=0))
    inside = (lower <= roc(ranked, grid)[0]) & (roc(ranked, grid)[0] <= upper)
    assert inside.mean() > 0.9
    assert (lower <= upper).all()
