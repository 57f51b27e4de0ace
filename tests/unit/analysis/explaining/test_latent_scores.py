import numpy as np
import pytest

from immo_hpc.analysis.explaining.latent import latent_classifier, person_folds
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.labels import labelled_samples


@pytest.fixture
def cohort(planted, drop_values):
    return drop_values(planted)


@pytest.fixture
def explained(cohort, network):
    return latent_classifier(network, cohort, labelled_samples(cohort), 0)


def test_effects_are_what_scores_of_changed_samples_say(cohort, explained):
    """The quick way through one layer is the whole way."""
    samples = cohort.take(cohort.indices("test"))
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


def test_refits_leave_people_out_and_differ(cohort, explained):
    data = labelled_samples(cohort)
    folds = person_folds(data, 0)
    assert len(folds) == 10
    for fit, score in folds:
        assert data.training[fit].all()
        assert not set(data.subject[fit]) & set(data.subject[score])
    samples = cohort.take(cohort.indices("test"))
    scores = [refit.scores(samples) for refit in explained.refits()]
    assert len(scores) == 10
    assert not np.allclose(scores[0], scores[1])
