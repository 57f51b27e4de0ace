import numpy as np
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis.platt import fit_platt


def test_many_scores_give_the_logistic_regression():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=4000)
    y = (generator.random(4000) < 1 / (1 + np.exp(-(0.5 + 1.5 * scores)))).astype(int)
    reference = LogisticRegression(C=1e6).fit(scores[:, None], y)
    expected = reference.predict_proba(scores[:, None])[:, 1]
    np.testing.assert_allclose(fit_platt(scores, y).probability(scores), expected, atol=2e-3)


def test_few_scores_that_separate_make_nobody_sure():
    y = np.array([0, 0, 0, 1, 1, 1])
    said = fit_platt(np.array([-2.0, -1.5, -1.0, 1.0, 1.5, 2.0]), y).probability(
        np.array([-2.0, 2.0])
    )
    assert 0.05 < said[0] < 0.25
    assert 0.75 < said[1] < 0.95


def test_one_class_gives_one_half():
    said = fit_platt(np.arange(3.0), np.ones(3, int)).probability(np.array([-9.0, 9.0]))
    np.testing.assert_array_equal(said, [0.5, 0.5])
    np.testing.assert_array_equal(
        fit_platt(np.empty(0), np.empty(0, int)).probability(np.zeros(1)), [0.5]
    )
