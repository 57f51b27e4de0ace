"""The rank rules: exact against hand-computed tables and by counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.inference.calibration.ranks import person_weights, tail_shares, upper_limits

ALIKE = {n: np.full(n, 1 / n) for n in (1, 4, 9, 19, 99)}


@pytest.mark.parametrize(
    ("n", "tail", "rank"),
    # The rank is the smallest whole number that is at least (1 - tail)(n + 1).
    [
        (9, 0.1, 9),
        (9, 0.2, 8),
        (9, 0.25, 8),
        (9, 0.5, 5),
        (19, 0.05, 19),
        (19, 0.1, 18),
        (99, 0.01, 99),
        (99, 0.025, 98),
        (4, 0.5, 3),
        (1, 0.5, 1),
        # Too few values for the tail: no limit can be stated.
        (9, 0.05, None),
        (19, 0.04, None),
        (1, 0.4, None),
    ],
)
def test_the_finite_sample_rank_by_hand(n, tail, rank):
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    limit = upper_limits(values, ALIKE[n], np.array([tail]), n)[0]
    assert limit == (np.inf if rank is None else rank)


@settings(max_examples=40)
@given(
    n=st.integers(1, 40),
    tail=st.floats(0.01, 0.6),
    seed=st.integers(0, 10**6),
)
def test_exactly_the_promised_share_of_exchangeable_values_is_below(n, tail, seed):
    """Each of n + 1 different values is the new one once: that is the promise, exactly."""
    values = np.random.default_rng(seed).permutation(n + 1).astype(float)
    held = 0
    for place in range(n + 1):
        others = np.delete(values, place)
        limit = upper_limits(others, np.full(n, 1 / n), np.array([tail]), n)[0]
        held += values[place] <= limit
    wanted = min(int(np.ceil(round((1 - tail) * (n + 1), 9))), n + 1)
    assert held == wanted


def test_weights_by_hand():
    """Ann's three visits weigh as much as Bob's one."""
    people = np.array(["ann", "ann", "ann", "bob"])
    weights = person_weights(people)
    np.testing.assert_allclose(weights, [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    errors = np.array([1.0, 2.0, 3.0, 4.0])
    limits = upper_limits(errors, weights, np.array([0.5, 0.4, 0.6]), np.inf)
    assert limits.tolist() == [3.0, 4.0, 3.0]
    # With two people, one half of a new person's values can be stated, and no more.
    assert upper_limits(errors, weights, np.array([0.5, 0.3]), 2).tolist() == [4.0, np.inf]


def test_the_order_of_values_does_not_matter():
    rng = np.random.default_rng(0)
    values, people = rng.normal(size=200), rng.integers(0, 9, size=200).astype(str)
    tails = np.array([0.3, 0.1, 0.02])
    order = rng.permutation(200)
    one = upper_limits(values, person_weights(people), tails, 9)
    other = upper_limits(values[order], person_weights(people[order]), tails, 9)
    np.testing.assert_array_equal(one, other)


def test_p_values_by_hand():
    known = np.array([1.0, 2.0, 3.0])
    shares = tail_shares(known, np.full(3, 1 / 3), np.array([0.5, 1.0, 2.5, 3.0, 9.0]))
    np.testing.assert_allclose(shares, [1, 1, 0.5, 0.5, 0.25])
    heavy = tail_shares(known, np.array([0.5, 0.25, 0.25]), np.array([2.0]))
    np.testing.assert_allclose(heavy, [(1 + 3 * 0.5) / 4])


@settings(max_examples=40)
@given(n=st.integers(1, 60), level=st.floats(0.02, 0.9), seed=st.integers(0, 10**6))
def test_p_values_below_a_level_are_as_rare_as_it_says(n, level, seed):
    values = np.random.default_rng(seed).permutation(n + 1).astype(float)
    rare = 0
    for place in range(n + 1):
        known = np.sort(np.delete(values, place))
        rare += tail_shares(known, np.full(n, 1 / n), values[[place]])[0] <= level
    assert rare <= level * (n + 1) + 1e-9
