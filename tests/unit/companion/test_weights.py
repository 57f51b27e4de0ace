"""Weights follow what can be foretold, and are 0 where nothing can."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.companion.weights import Scored, fitted_weight


def scored(companion_signal, network_signal, seed, people=20, visits=3, features=30):
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), visits)
    truth = rng.normal(size=(len(person), features))
    said = [
        signal * truth + rng.normal(size=truth.shape) * 0.5
        for signal in (companion_signal, network_signal)
    ]
    truth[rng.random(truth.shape) < 0.1] = np.nan
    judged = np.flatnonzero(person < people // 2)
    return Scored(truth, said[0], person, said[1], judged)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_they_are_shares(seed):
    rng = np.random.default_rng(seed)
    weight = fitted_weight(scored(rng.normal(), rng.normal(), seed))
    assert 0 <= weight.companion <= 1
    assert 0 <= weight.network <= 1
    assert -1e-9 <= weight.mean <= 1


def test_noise_gets_nothing_on_average():
    weights = [fitted_weight(scored(0, 0, seed)) for seed in range(20)]
    assert np.mean([weight.companion for weight in weights]) < 0.02
    assert np.mean([weight.network for weight in weights]) < 0.02


def test_the_better_of_the_two_gets_more():
    companion, network = scored(0.8, 0.1, 0), scored(0.1, 0.8, 0)
    assert fitted_weight(companion).companion > 0.6
    assert fitted_weight(network).network > 0.5


def test_the_weight_is_the_slope_of_the_truth():
    at = scored(0.8, 0, 0, people=400)
    without = Scored(at.truth, at.companion, at.person)
    # Of 0.8 t + e with var t = 1 and var e = 0.25: 0.8 / (0.64 + 0.25).
    np.testing.assert_allclose(fitted_weight(without).companion, 0.8 / 0.89, atol=0.02)


def test_one_person_proves_nothing():
    at = scored(1, 1, 0, people=1)
    assert fitted_weight(at).mean == 1
