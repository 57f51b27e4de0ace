"""Layers of other visits: nothing of a sample itself, nothing without other visits."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data import visit_times
from immo_hpc.data.cohort import Roles
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.visits import people, visited, with_visits, without_visits


def make(person, seed=0, features=3, days=None):
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(len(person)) < 0.7)
    values = rng.normal(size=(len(rows), features)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    ids = pd.Index([f"s{place}" for place in range(len(person))], name="sample_id")
    names = tuple(f"f{place}" for place in range(features))
    layer = PreparedLayer("x", names, values, rows, np.ones(len(rows), np.float32))
    samples = pd.DataFrame({"who": person}, index=ids, dtype=object)
    roles = Roles(subject="who")
    if days is not None:
        samples["day"], roles = days, Roles(subject="who", time="day")
    return PreparedCohort(samples, {"x": layer}, roles)


@settings(max_examples=30)
@given(
    person=st.lists(st.sampled_from(["ann", "bob", "eve", "joe"]), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
def test_equals_the_loop_over_samples(person, seed):
    cohort = make(person, seed)
    x, found = cohort.wide(), with_visits(cohort).wide(["x@visits"])
    for row, name in enumerate(person):
        others = [place for place, who in enumerate(person) if who == name and place != row]
        for column in range(x.shape[1]):
            known = x[others, column][np.isfinite(x[others, column])]
            expected = known.sum() / (len(known) + 1) if len(known) else np.nan
            np.testing.assert_allclose(found[row, column], expected, atol=1e-6)


def test_a_sample_does_not_enter_its_own_row():
    cohort = make(["ann", "ann", "ann", "bob"], seed=3)
    before = with_visits(cohort).wide(["x@visits"])
    cohort.layers["x"].values[0] += 100
    row = cohort.layers["x"].rows[0]
    np.testing.assert_array_equal(with_visits(cohort).wide(["x@visits"])[row], before[row])


@settings(max_examples=30)
@given(
    person=st.lists(st.sampled_from(["ann", "bob"]), min_size=1, max_size=8),
    silent=st.lists(st.booleans(), min_size=8, max_size=8),
    seed=st.integers(0, 1000),
)
def test_who_is_unheard_says_nothing_and_is_told_all_the_same(person, silent, seed):
    cohort, unheard = make(person, seed), np.array(silent[: len(person)])
    x, shown = cohort.wide(), with_visits(cohort, unheard=unheard)
    found = shown.wide(["x@visits"])
    for row, name in enumerate(person):
        others = [p for p, who in enumerate(person) if who == name and p != row and not unheard[p]]
        known = np.isfinite(x[others])
        expected = np.where(known, x[others], 0).sum(axis=0) / (known.sum(axis=0) + 1)
        expected[~known.any(axis=0)] = np.nan
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
        assert visited(shown)[row] == known.any()
    assert not visited(cohort).any()


def test_one_whose_subject_is_unknown_is_alone():
    cohort = make([None, None, "ann", "ann"])
    assert people(cohort.samples, cohort.roles).tolist() == ["s0", "s1", "ann", "ann"]
    assert not np.isfinite(with_visits(cohort).wide(["x@visits"])[:2]).any()


def test_they_can_be_taken_away_again():
    cohort = make(["ann", "ann"])
    assert list(without_visits(with_visits(cohort)).layers) == ["x"]


@settings(max_examples=30)
@given(
    person=st.lists(st.sampled_from(["ann", "bob", "eve"]), min_size=1, max_size=10),
    days=st.lists(st.none() | st.floats(0, 1000), min_size=10, max_size=10),
    seed=st.integers(0, 1000),
)
def test_visits_close_in_time_count_more(person, days, seed):
    when = np.array(days[: len(person)], dtype=float)
    cohort = make(person, seed, days=when)
    x, found = cohort.wide(), with_visits(cohort).wide(["x@visits"])
    for row, name in enumerate(person):
        own = [place for place, who in enumerate(person) if who == name]
        others = [place for place in own if place != row]
        middle = np.nanmedian(when[own]) if np.isfinite(when[own]).any() else 0.0
        at = np.where(np.isnan(when), middle, when)
        for column in range(x.shape[1]):
            known = [place for place in others if np.isfinite(x[place, column])]
            expected = np.nan
            if known:
                gap = np.abs(at[known][:, None] - at[known])
                matrix = 0.3 + 0.2 * np.exp(-gap / 180) + 0.5 * np.eye(len(known))
                towards = 0.3 + 0.2 * np.exp(-np.abs(at[row] - at[known]) / 180)
                expected = towards @ np.linalg.solve(matrix, x[known, column])
            np.testing.assert_allclose(found[row, column], expected, atol=1e-6)


def test_visits_at_unknown_times_count_alike():
    person = ["ann"] * 5 + ["bob"] * 3
    timed = make(person, seed=5, days=np.full(8, np.nan))
    alike, found = with_visits(make(person, seed=5)), with_visits(timed)
    expected = alike.wide(["x@visits"])
    np.testing.assert_allclose(found.wide(["x@visits"]), expected, rtol=1e-6)


def test_own_values_do_not_enter_with_times_either():
    cohort = make(["ann"] * 5 + ["bob"], seed=3, days=np.arange(6.0) * 50)
    before = with_visits(cohort).wide(["x@visits"])
    cohort.layers["x"].values[0] += 100
    row = cohort.layers["x"].rows[0]
    np.testing.assert_array_equal(with_visits(cohort).wide(["x@visits"])[row], before[row])


def test_people_with_very_many_samples_are_taken_in_stretches_of_time(monkeypatch):
    days = np.random.default_rng(0).permutation(20).astype(float)
    cohort = make(["ann"] * 20 + ["bob"], seed=2, days=np.append(days, 0))
    monkeypatch.setattr(visit_times, "MOST_VISITS", 10)
    found = with_visits(cohort).wide(["x@visits"])
    early = np.flatnonzero(days < 10)
    expected = with_visits(cohort.take(early)).wide(["x@visits"])
    np.testing.assert_array_equal(found[early], expected)
    monkeypatch.setattr(visit_times, "_BLOCK_VALUES", 1)
    np.testing.assert_array_equal(with_visits(cohort).wide(["x@visits"]), found)
