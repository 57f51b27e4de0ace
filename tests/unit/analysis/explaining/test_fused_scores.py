"""The product of experts that classifies people, and its attribution."""

import numpy as np
import pytest

from immo_hpc.analysis.explaining.baseline import baseline_of
from immo_hpc.analysis.explaining.fused import fused_classifier
from immo_hpc.analysis.explaining.latent import person_folds
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.explaining.readings import Reading
from immo_hpc.analysis.fusion import LATENT, all_experts, product_of
from immo_hpc.analysis.gradients import completeness_gaps
from immo_hpc.analysis.labels import labelled_samples


@pytest.fixture(params=[("control", "case"), ("x", "y", "z")], ids=["two", "three"])
def cohort(request, make_cohort, drop_values):
    return drop_values(
        make_cohort(classes=request.param, signal=2.0, features=(30, 20), num_subjects=60)
    )


def _test_side(cohort):
    return cohort.take(cohort.indices("test"))


def _with_ranks(explained, width=30):
    """The same with the expert of layer 'a' reading ranks."""
    generator = np.random.default_rng(0)
    columns = len(explained.intercept)
    weight, origin = generator.normal(size=(width, columns)), generator.normal(size=width)
    reading = Reading("ranks", np.arange(width), weight, np.zeros(columns), origin)
    return type(explained)(**{**vars(explained), "readings": {**explained.readings, "a": reading}})


def test_it_is_the_product_that_classifies(cohort, network):
    data = labelled_samples(cohort)
    folds = data.folds(0)
    experts = all_experts(network.embed(cohort), cohort, data, folds, 0)
    method = product_of(experts, data, folds, 0)
    train, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)
    explained = fused_classifier(network, cohort, data, 0)
    found = explained.scores(cohort.take(data.index[test]))
    np.testing.assert_allclose(found, method.scores(train, test), rtol=1e-3, atol=1e-3)
    assert explained.training_auc == pytest.approx(method.training_auc)
    assert list(explained.experts) == ["a", "b", LATENT]


@pytest.mark.parametrize("ranks", [False, True])
@pytest.mark.parametrize("kind", ["mean", "class"])
def test_attributions_add_up(cohort, network, kind, ranks):
    data = labelled_samples(cohort)
    if kind == "class" and data.num_classes > 2:
        pytest.skip("no class stands against the others")
    baseline = baseline_of(kind, cohort, data)
    explained = fused_classifier(network, cohort, data, 0, baseline)
    explained = _with_ranks(explained) if ranks else explained
    samples = _test_side(cohort)
    found = explained.attribute(samples, np.full(len(samples.samples), -1), 64)
    assert completeness_gaps(found, samples).max() < 0.01
    if not ranks:
        missing = np.isnan(samples.layers["a"].values)
        assert (found.values["a"][missing] == 0).all()


def test_the_baseline_is_where_the_score_starts(cohort, network):
    """With every value at the baseline nothing is attributed and the score is the baseline's."""
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    samples = _test_side(cohort)
    target = np.zeros(len(samples.samples), dtype=np.int64)
    found = explained.attribute(samples, target, 16)
    for layer in samples.layers.values():
        layer.values[:] = 0
    at_zero = explained.attribute(samples, target, 16)
    np.testing.assert_allclose(at_zero.score, found.baseline, rtol=1e-4, atol=1e-5)
    assert max(np.abs(block).max() for block in at_zero.values.values()) < 1e-6


@pytest.mark.parametrize("ranks", [False, True])
def test_effects_are_what_scores_of_changed_samples_say(planted, drop_values, network, ranks):
    explained = fused_classifier(network, drop_values(planted), labelled_samples(planted), 0)
    explained = _with_ranks(explained) if ranks else explained
    samples = _test_side(planted)
    owner = owners(samples)
    effect = explained.effect(samples, "a")
    other = np.random.default_rng(3).normal(size=(2, len(effect.values))).astype(np.float32)
    other[0, :3] = np.nan
    change = effect.change(4, other)
    before = person_means(explained.scores(samples), owner)[1]
    rows = samples.layers["a"].rows
    _, person = np.unique(owner, return_inverse=True)
    for repeat in range(2):
        quick = before.copy()
        np.add.at(quick, person[rows], effect.share[:, None] * change[repeat])
        changed = samples.take(np.arange(len(samples.samples)))
        changed.layers["a"].values[:, 4] = other[repeat]
        whole = person_means(explained.scores(changed), owner)[1]
        np.testing.assert_allclose(quick, whole, atol=2e-4)


def test_refits_leave_people_out_and_differ(planted, network):
    explained = fused_classifier(network, planted, labelled_samples(planted), 0)
    data = labelled_samples(planted)
    for fit, score in person_folds(data, 0):
        assert data.training[fit].all()
        assert not set(data.subject[fit]) & set(data.subject[score])
    scores = [refit.scores(_test_side(planted)) for refit in explained.refits()]
    assert len(scores) == 10
    assert not np.allclose(scores[0], scores[1])


def test_what_nobody_has_is_neither_read_nor_ranked(cohort, network):
    gone = [2, 7, 29]
    cohort.layers["a"].values[:, gone] = np.nan
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    kept = np.setdiff1d(np.arange(30), gone)
    generator = np.random.default_rng(0)
    columns = len(explained.intercept)
    for view in ("values", "ranks"):
        weight = generator.normal(size=(len(kept), columns))
        reading = Reading(view, kept, weight, np.zeros(columns), np.ones(len(kept)))
        values = _test_side(cohort).layers["a"].values
        found = reading.attributions(values, np.zeros(len(values), dtype=np.int64))
        assert (found[:, gone] == 0).all()
        assert (found[:, kept] != 0).any(axis=0).all()
        other = values.copy()
        other[:, gone] = 5.0
        np.testing.assert_array_equal(reading.log_odds(values), reading.log_odds(other))
        assert not reading.change(values, 2, np.ones((2, len(values)))).any()
    np.testing.assert_array_equal(explained.readings["a"].columns, kept)


def test_a_baseline_of_ranks_is_stated(cohort, network):
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    assert "(a" in _with_ranks(explained).baseline_note


def test_a_layer_that_nobody_has_values_of_is_not_read(cohort, network):
    cohort.layers["a"].values[:] = np.nan
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    assert list(explained.readings) == ["b"]
    samples = _test_side(cohort)
    found = explained.attribute(samples, np.full(len(samples.samples), -1), 16)
    assert not found.values["a"].any()
    assert completeness_gaps(found, samples).max() < 0.01
    assert explained.effect(samples, "a").change(0, np.ones((1, len(found.values["a"])))).any()
