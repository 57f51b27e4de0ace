import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis.linear import fit_linear, subject_means, subject_weights


def _samples(seed, num_subjects=24, width=6, classes=2):
    generator = np.random.default_rng(seed)
    subject = np.repeat(np.arange(num_subjects), generator.integers(1, 5, num_subjects))
    y = subject % classes
    x = generator.normal(size=(len(subject), width))
    x[:, 0] += y
    return x, y, subject


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 4))
def test_subjects_and_classes_count_alike(seed, classes):
    _, y, subject = _samples(seed, classes=classes)
    weight = subject_weights(y, subject)
    own = np.bincount(subject, weight)
    for code in range(classes):
        mine = own[np.unique(subject[y == code])]
        np.testing.assert_allclose(mine, mine[0])
        np.testing.assert_allclose(mine.sum(), len(own) / classes)


def test_it_is_a_weighted_logistic_regression_with_a_ridge():
    x, y, subject = _samples(0)
    weight = subject_weights(y, subject)
    centred = x - np.average(x, axis=0, weights=weight)
    square = np.average((centred**2).sum(1), weights=weight)
    reference = LogisticRegression(C=2.0 / square, tol=1e-10, max_iter=10_000)
    reference.fit(x, y, sample_weight=weight)
    found = fit_linear(x, y, subject, 2, 2.0)
    np.testing.assert_allclose(found.weight[:, 0], reference.coef_[0], atol=1e-4)
    np.testing.assert_allclose(
        found.scores(x.astype(np.float32))[:, 0], reference.decision_function(x), atol=1e-3
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100), times=st.integers(2, 5))
def test_scale_order_and_repeated_visits_change_nothing(seed, factor, times):
    x, y, subject = _samples(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    every = np.concatenate([order] + [np.flatnonzero(subject == 3)] * (times - 1))
    one = fit_linear(x, y, subject, 2, 1.0).scores(x)
    other = fit_linear(factor * x[every], y[every], subject[every], 2, 1.0).scores(factor * x)
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_a_class_with_one_sample_is_left_out():
    x, y, subject = _samples(1, classes=3)
    y = np.where(y == 2, 0, y)
    y[0] = 2
    found = fit_linear(x, y, subject, 3, 1.0)
    assert (found.weight[:, 2] == 0).all()
    np.testing.assert_allclose(found.weight[:, 0], -found.weight[:, 1])
    alone = fit_linear(x, np.zeros(len(x), int), subject, 2, 1.0)
    np.testing.assert_array_equal(alone.scores(x), np.zeros((len(x), 1)))


def test_means_of_subjects_leave_out_what_is_unknown():
    scores = np.array([[1.0], [np.nan], [4.0], [np.nan]])
    found = subject_means(scores, np.array([0, 0, 0, 1]), 2)
    np.testing.assert_array_equal(found, [[2.5], [np.nan]])


@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_planted_is_found(classes):
    x, y, subject = _samples(4, num_subjects=90, classes=classes)
    found = fit_linear(x, y, subject, classes, 1.0)
    strongest = np.abs(found.weight).max(axis=1).argmax()
    assert strongest == 0
