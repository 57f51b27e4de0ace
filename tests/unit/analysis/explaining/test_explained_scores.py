import numpy as np
import pytest

from immo_hpc.analysis.experts import layer_experts
from immo_hpc.analysis.explaining.latent import latent_classifier, person_folds
from immo_hpc.analysis.explaining.linear import least_weights, product_classifier
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.fusion import product_of
from immo_hpc.analysis.labels import labelled_samples


@pytest.fixture(params=["latent", "product"])
def learn(request, network):
    def learnt(cohort, baseline=None):
        data = labelled_samples(cohort)
        if request.param == "latent":
            return latent_classifier(network, cohort, data, 0, baseline)
        return product_classifier(cohort, data, 0, baseline)

    return learnt


def _test_side(cohort):
    return cohort.take(cohort.indices("test"))


@pytest.mark.parametrize("classes", [("control", "case"), ("x", "y", "z")])
def test_the_explained_product_is_the_one_that_classifies(make_cohort, drop_values, classes):
    cohort = drop_values(make_cohort(classes=classes, signal=2.0, num_subjects=60))
    data = labelled_samples(cohort)
    folds = data.folds(0)
    experts = layer_experts(cohort, data, folds, 0, views=("values",))
    method = product_of(experts, data, folds, 0)
    train, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)
    explained = product_classifier(cohort, data, 0)
    found = explained.scores(cohort.take(data.index[test]))
    np.testing.assert_allclose(found, method.scores(train, test), rtol=1e-3, atol=1e-3)


def test_attributions_of_the_product_add_up_by_person(make_cohort, drop_values):
    cohort = drop_values(make_cohort(signal=2.0, num_subjects=60))
    explained = product_classifier(cohort, labelled_samples(cohort), 0)
    samples = _test_side(cohort)
    found = explained.attribute(samples, np.zeros(len(samples.samples), dtype=np.int64))
    owner = owners(samples)
    told = {}
    for name, block in found.values.items():
        people, sums = person_means(block.sum(axis=1)[:, None], owner[samples.layers[name].rows])
        for person, value in zip(people, sums[:, 0], strict=True):
            told[person] = told.get(person, 0) + value
    blank = samples.take(np.arange(len(samples.samples)))
    for layer in blank.layers.values():
        layer.values[:] = 0
    change = (explained.scores(samples) - explained.scores(blank))[:, 0]
    for person, value in told.items():
        assert value == pytest.approx(change[owner == person][0], abs=1e-6)


def test_effects_are_what_scores_of_changed_samples_say(planted, drop_values, learn):
    """The quick way through one layer is the whole way."""
    explained = learn(drop_values(planted))
    samples = _test_side(planted)
    owner = owners(samples)
    effect = explained.effect(samples, "a")
    other = np.random.default_rng(3).normal(size=(2, len(effect.values))).astype(np.float32)
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


def test_refits_leave_people_out_and_differ(planted, learn):
    explained = learn(planted)
    data = labelled_samples(planted)
    folds = person_folds(data, 0)
    assert len(folds) == 10
    for fit, score in folds:
        assert data.training[fit].all()
        assert not set(data.subject[fit]) & set(data.subject[score])
    samples = _test_side(planted)
    scores = [refit.scores(samples) for refit in explained.refits()]
    assert len(scores) == 10
    assert not np.allclose(scores[0], scores[1])


def test_weights_of_a_ridge_are_found_from_its_scores():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 20))
    centred = x - x.mean(axis=0)
    weight = centred.T @ generator.normal(size=(8, 2))
    found, offset = least_weights(x, x @ weight + [1.0, -2.0])
    np.testing.assert_allclose(found, weight, atol=1e-9)
    np.testing.assert_allclose(offset, [1.0, -2.0], atol=1e-9)
