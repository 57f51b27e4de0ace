import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.analysis.explaining.people import exchange_people, person_means


@settings(max_examples=40)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=40), st.integers(0, 1000))
def test_people_are_exchanged_whole(people, seed):
    owner = np.array(people)
    taken = exchange_people(owner, 3, np.random.default_rng(seed))
    assert taken.shape == (3, len(owner))
    for rows in taken:
        donors = {}
        for person in set(people):
            mine = rows[owner == person]
            # All visits of one person come from one donor, in its order, begun again if need be.
            (donor,) = set(owner[mine])
            own = np.flatnonzero(owner == donor)
            np.testing.assert_array_equal(mine, own[np.arange(len(mine)) % len(own)])
            donors[person] = donor
        assert sorted(donors.values()) == sorted(set(people))


def test_exchanges_differ_and_follow_from_the_seed():
    owner = np.repeat(np.arange(20), 2)
    one, other = (exchange_people(owner, 2, np.random.default_rng(seed)) for seed in (0, 0))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 1000))
def test_means_are_those_of_each_person(people, seed):
    owner = np.array(people)
    values = np.random.default_rng(seed).normal(size=(len(people), 3))
    names, means = person_means(values, owner)
    assert names.tolist() == sorted(set(people))
    for name, mean in zip(names, means, strict=True):
        np.testing.assert_allclose(mean, values[owner == name].mean(axis=0))
