from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis.experts import VIEWS, layer_experts, learn_expert
from immo_hpc.analysis.fusion import LATENT, Learning, all_experts, fused, product_of
from immo_hpc.analysis.labels import labelled_samples


def _latent(cohort):
    return np.nan_to_num(cohort.wide())[:, ::-1].copy()


def _fusion(cohort, seed=0):
    data = labelled_samples(cohort)
    folds = data.folds(seed)
    return fused(all_experts(_latent(cohort), cohort, data, folds, seed), data, folds, seed)


def _product(cohort, seed=0):
    data = labelled_samples(cohort)
    folds = data.folds(seed)
    return product_of(layer_experts(cohort, data, folds, seed), data, folds, seed), data


def _scores_by_person(cohort):
    """Scores of test people; folds are given, since those of a cohort depend on its order."""
    data = labelled_samples(cohort)
    people = cohort.subjects.to_numpy()[data.index]
    fold = np.array([int(name[1:]) % 3 for name in people])
    folds = [
        (np.flatnonzero(data.training & (fold != k)), np.flatnonzero(data.training & (fold == k)))
        for k in range(3)
    ]
    method = product_of(layer_experts(cohort, data, folds, 0), data, folds, 0)
    test = np.flatnonzero(~data.training)
    scores = method.scores(np.flatnonzero(data.training), test)[:, 0]
    return dict(zip(people[test], scores, strict=True))


def test_a_fitted_fusion_says_what_the_method_says(make_cohort):
    cohort = make_cohort(signal=1.5, num_subjects=60)
    data = labelled_samples(cohort)
    folds = data.folds(0)
    experts = all_experts(_latent(cohort), cohort, data, folds, 0)
    method = product_of(experts, data, folds, 0, name="fusion", source="fused")
    train, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)
    fusion = fused(experts, data, folds, 0)
    said = fusion.scores(cohort.take(data.index[test]), _latent(cohort)[data.index[test]])
    probability = fusion.probability(said, data.subject[test])
    expected = fusion.platt[0].probability(method.scores(train, test)[:, 0])
    np.testing.assert_allclose(probability[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(probability.sum(axis=1), 1)


def test_coefficients_are_what_a_unit_adds(make_cohort):
    cohort = make_cohort(signal=1.5, num_subjects=60)
    fusion = _fusion(cohort)
    assert set(fusion.linear) == {"a", "b", LATENT}
    one = cohort.take(cohort.layers["a"].rows[:1])
    view = fusion.view["a"]
    seen = VIEWS[view](one.layers["a"].values)
    more = seen.copy()
    more[0, 1] += 1
    place = list(fusion.linear).index("a")
    evidence = np.full((2, len(fusion.linear), 1), np.nan)
    for row, values in enumerate((seen, more)):
        evidence[row, place] = fusion.linear["a"].scores(values)[0]
    low, high = fusion.product.log_odds(evidence)[:, 0]
    np.testing.assert_allclose(high - low, fusion.coefficients("a")[1, 0], rtol=1e-5, atol=1e-7)
    with pytest.raises(KeyError):
        fusion.coefficients("c")


def test_a_layer_that_is_absent_adds_nothing(make_cohort):
    cohort = make_cohort(num_subjects=60)
    fusion = _fusion(cohort)
    latent = _latent(cohort)
    whole, without = (fusion.scores(part, latent) for part in (cohort, cohort.without("b")))
    place = list(fusion.linear).index("b")
    assert np.isnan(without[:, place]).all()
    whole[:, place] = np.nan
    np.testing.assert_array_equal(whole, without)
    nothing = np.full((2, 3, 1), np.nan)
    said = fusion.probability(nothing, np.arange(2))
    np.testing.assert_array_equal(said[0], said[1])


@settings(
    max_examples=10,
    deadline=None,
    # The fixture is a function without a state.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 1000))
def test_order_of_samples_changes_nothing(make_cohort, seed):
    cohort = make_cohort(num_subjects=36, seed=seed % 7)
    order = np.random.default_rng(seed).permutation(len(cohort.samples))
    shuffled = cohort.take(order)
    # Rows of a layer stand in the order of the samples.
    layers = {}
    for name, layer in shuffled.layers.items():
        by_row = np.argsort(layer.rows)
        layers[name] = replace(
            layer, values=layer.values[by_row], rows=layer.rows[by_row], scale=layer.scale[by_row]
        )
    one, other = map(_scores_by_person, (cohort, replace(shuffled, layers=layers)))
    assert other == pytest.approx(one, abs=2e-3)


def test_repeating_the_visits_of_a_person_changes_nothing(make_cohort):
    cohort = make_cohort(num_subjects=48)
    again = np.flatnonzero((cohort.samples["person"] == "p00").to_numpy())
    repeated = cohort.take(np.sort(np.concatenate([np.arange(len(cohort.samples)), again, again])))
    one, other = map(_scores_by_person, (cohort, repeated))
    assert other == pytest.approx(one, abs=2e-3)


def test_nothing_is_learnt_from_test_samples(make_cohort):
    cohort = make_cohort(num_subjects=48)
    test = np.flatnonzero(cohort.split == "test")
    layers = {}
    for name, layer in cohort.layers.items():
        values = layer.values.copy()
        values[np.isin(layer.rows, test)] *= -5
        layers[name] = replace(layer, values=values)
    labels = cohort.samples["label"].to_numpy().copy()
    labels[test] = labels[test][::-1]
    other = replace(cohort, layers=layers, samples=cohort.samples.assign(label=labels))
    one, spoilt = (_product(part)[0].setting for part in (cohort, other))
    assert one == spoilt
    first, second = (_fusion(part) for part in (cohort, other))
    for name in ("a", "b"):
        np.testing.assert_array_equal(first.coefficients(name), second.coefficients(name))


def test_experts_read_ranks_where_samples_differ_in_loudness(make_cohort):
    cohort = make_cohort(num_subjects=80, signal=1.5, missing=0.0, features=(12, 12))
    layer = cohort.layers["a"]
    loudness = np.exp(2 * np.random.default_rng(1).normal(size=(len(layer.values), 1)))
    values = (layer.values * loudness).astype(np.float32)
    data = labelled_samples(cohort)
    row = np.asarray(data.index)
    expert = learn_expert(values, row, data, data.folds(0), 0)
    alone = learn_expert(values, row, data, data.folds(0), 0, views=("values",))
    assert expert.view == "ranks"
    assert expert.training_auc > alone.training_auc


def test_without_folds_all_experts_weigh_alike(make_cohort):
    cohort = make_cohort(num_subjects=24)
    data = labelled_samples(cohort)
    learning = Learning.of(layer_experts(cohort, data, [], 0), data)
    assert not len(learning.keys)
    product = learning.product(np.flatnonzero(data.training))
    np.testing.assert_array_equal(product.weight, np.ones((2, 1)))
    assert np.isnan(learning.training_auc([]))


def test_probabilities_are_as_sure_as_they_may_be(make_cohort):
    """Slope of the truth on the log-odds, over people of many cohorts: 1 is right."""
    odds, truth = [], []
    for seed in range(12):
        cohort = make_cohort(num_subjects=120, signal=0.7, visits=2, seed=seed)
        data = labelled_samples(cohort)
        fusion = _fusion(cohort, seed)
        test = np.flatnonzero(~data.training)
        said = fusion.scores(cohort.take(data.index[test]), _latent(cohort)[data.index[test]])
        p = fusion.probability(said, data.subject[test])[:, 1]
        first = np.unique(data.subject[test], return_index=True)[1]
        odds.append(np.log(p / (1 - p))[first])
        truth.append(data.y[test][first])
    model = LogisticRegression(C=1e4).fit(np.concatenate(odds)[:, None], np.concatenate(truth))
    assert 0.7 < model.coef_[0, 0] < 1.4


def test_several_classes_have_probabilities_that_sum_to_one(make_cohort):
    cohort = make_cohort(classes=("x", "y", "z"), num_subjects=60, signal=2.0)
    fusion = _fusion(cohort)
    data = labelled_samples(cohort)
    said = fusion.probability(fusion.scores(cohort, _latent(cohort)), data.subject)
    assert said.shape == (len(cohort.samples), 3)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert (said.argmax(axis=1) == data.y).mean() > 0.6
