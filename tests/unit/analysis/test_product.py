import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis.bootstrap import Ranked, auc, by_subject
from immo_hpc.analysis.experts import layer_experts
from immo_hpc.analysis.fusion import Learning, product_of
from immo_hpc.analysis.labels import labelled_samples
from immo_hpc.analysis.product import fit_product


def _evidence(seed, num_subjects=80, effects=(2.0, 1.0)):
    generator = np.random.default_rng(seed)
    y = np.arange(num_subjects) % 2
    scores = generator.normal(size=(num_subjects, len(effects), 1))
    scores[:, :, 0] += np.outer(y, effects)
    return scores, y


def test_weights_are_those_of_a_penalised_balanced_logistic_regression():
    evidence, y = _evidence(0)
    keep = np.r_[np.flatnonzero(y == 0)[:15], np.flatnonzero(y == 1)]  # Classes of unequal size.
    evidence, y = evidence[keep], y[keep]
    product = fit_product(evidence, y)
    z = (evidence[:, :, 0] - evidence[:, :, 0].mean(0)) / evidence[:, :, 0].std(0)
    reference = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10).fit(z, y)
    np.testing.assert_allclose(product.weight[:, 0], reference.coef_[0], atol=1e-3)
    np.testing.assert_allclose(product.intercept, reference.intercept_, atol=1e-3)
    np.testing.assert_allclose(
        product.log_odds(evidence)[:, 0], reference.decision_function(z), atol=5e-3
    )


def test_an_expert_that_speaks_against_the_label_is_not_heard():
    evidence, y = _evidence(1, effects=(2.0, -2.0))
    product = fit_product(evidence, y)
    assert product.weight[0, 0] > 0.5
    assert product.weight[1, 0] == 0


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 100), shift=st.floats(-10, 10))
def test_the_scale_of_an_expert_does_not_matter(seed, scale, shift):
    evidence, y = _evidence(seed)
    other = evidence.copy()
    other[:, 0] = shift + scale * other[:, 0]
    one, two = (fit_product(part, y).log_odds(part) for part in (evidence, other))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_what_is_absent_adds_nothing():
    evidence, y = _evidence(2)
    product = fit_product(evidence, y)
    alone = evidence.copy()
    alone[:, 1] = np.nan
    parts = product.weight * (evidence - product.centre) / product.scale
    np.testing.assert_allclose(product.log_odds(alone), product.intercept + parts[:, 0])
    nothing = np.full((1, 2, 1), np.nan)
    np.testing.assert_array_equal(product.log_odds(nothing)[0], product.intercept)


def test_one_class_gives_equal_weights():
    product = fit_product(np.random.default_rng(0).normal(size=(5, 2, 1)), np.zeros(5, int))
    np.testing.assert_array_equal(product.weight, np.ones((2, 1)))


def test_several_classes_have_weights_of_their_own():
    generator = np.random.default_rng(3)
    y = np.arange(90) % 3
    evidence = generator.normal(size=(90, 2, 3))
    evidence[np.arange(90), 0, y] += 2  # Only the first expert knows anything.
    product = fit_product(evidence, y)
    assert product.weight.shape == (2, 3)
    assert (product.weight[0] > product.weight[1]).all()
    assert (product.log_odds(evidence).argmax(1) == y).mean() > 0.7


def _subject_auc(method, data):
    train, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)
    ranked = Ranked(method.scores(train, test), data.y[test], data.subject[test])
    ranked = by_subject(ranked)
    return float(auc(ranked.scores[:, 0], ranked.y == 1)[0])


def test_it_leaves_a_layer_of_noise_aside(make_cohort):
    values, weights = [], []
    for seed in range(6):
        cohort = make_cohort(seed=seed, num_subjects=60, signal=1.0, missing=0.3)
        cohort.layers["b"].values[:] = np.random.default_rng(seed).normal(
            size=cohort.layers["b"].values.shape
        )
        data = labelled_samples(cohort)
        folds = data.folds(seed)
        experts = layer_experts(cohort, data, folds, seed)
        weights.append(Learning.of(experts, data).product(np.flatnonzero(data.training)).weight)
        values.append(_subject_auc(product_of(experts, data, folds, seed), data))
    assert np.mean(values) > 0.75
    on_signal, on_noise = np.mean(weights, axis=0)[:, 0]
    assert on_noise < 0.35 * on_signal


def test_permuted_labels_give_chance(make_cohort):
    values = []
    for seed in range(12):
        cohort = make_cohort(seed=seed, num_subjects=48, signal=2.0)
        people = cohort.samples["person"].unique()
        drawn = np.random.default_rng(seed).permutation(np.arange(len(people)) % 2)
        label = dict(zip(people, np.array(["control", "case"])[drawn], strict=True))
        cohort.samples["label"] = cohort.samples["person"].map(label)
        data = labelled_samples(cohort)
        folds = data.folds(seed)
        experts = layer_experts(cohort, data, folds, seed)
        values.append(_subject_auc(product_of(experts, data, folds, seed), data))
    assert 0.4 < np.mean(values) < 0.6
