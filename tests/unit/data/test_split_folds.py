"""Repeated and nested folds of whole subjects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.split import nested_subject_folds, repeated_subject_folds, subject_folds
from immo_hpc.errors import CohortError


def _samples(seed, num_subjects=30):
    rng = np.random.default_rng(seed)
    visits = rng.integers(1, 5, num_subjects)
    labels = rng.choice(["case", "control", "rare"], num_subjects, p=[0.5, 0.4, 0.1])
    return pd.DataFrame(
        {
            "person": np.repeat([f"p{number}" for number in range(num_subjects)], visits),
            "label": np.repeat(labels, visits),
        }
    )


def _check_folds(samples, folds, places, num_folds):
    """Whole subjects, each tested on once, every frequent label in every fold."""
    np.testing.assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), places)
    people = samples.iloc[places].drop_duplicates("person")["label"].value_counts()
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), places)
        assert not set(samples["person"].iloc[train]) & set(samples["person"].iloc[test])
        for label in people.index[people >= num_folds]:
            assert label in set(samples["label"].iloc[test])


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_every_subject_is_tested_once_a_repeat(seed, num_folds, num_repeats):
    samples = _samples(seed)
    repeats = repeated_subject_folds(
        samples["person"], samples["label"], num_folds, num_repeats, seed
    )
    assert len(repeats) == num_repeats
    for folds in repeats:
        assert len(folds) == num_folds
        _check_folds(samples, folds, np.arange(len(samples)), num_folds)
    more = repeated_subject_folds(
        samples["person"], samples["label"], num_folds, num_repeats + 1, seed
    )
    for folds, again in zip(repeats, more, strict=False):
        for (_, test), (_, same) in zip(folds, again, strict=True):
            np.testing.assert_array_equal(test, same)


def test_repeats_and_seeds_share_no_deal():
    samples = _samples(0)

    def deals(seed):
        repeats = repeated_subject_folds(iter(samples["person"]), None, 3, 4, seed)
        return {tuple(map(tuple, (test for _, test in folds))) for folds in repeats}

    assert len(deals(0)) == 4
    assert not deals(0) & deals(1)


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 4), st.booleans())
@settings(max_examples=20, deadline=None)
def test_inner_folds_never_see_the_test_subjects(seed, num_outer, num_inner, labelled):
    samples = _samples(seed)
    labels = samples["label"] if labelled else None
    nested = nested_subject_folds(samples["person"], labels, num_outer, num_inner, seed)
    outer = subject_folds(samples["person"], labels, num_outer, seed)
    for fold, (train, test) in zip(nested, outer, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)
        assert len(fold.inner) == num_inner
        if labelled:
            _check_folds(samples, fold.inner, train, num_inner)
        for learn, choose in fold.inner:
            assert (np.diff(learn) > 0).all()
            assert (np.diff(choose) > 0).all()


def test_nested_folds_do_not_depend_on_the_order_of_samples():
    samples = _samples(5)
    shuffled = samples.sample(frac=1, random_state=1)
    nested, again = (
        nested_subject_folds(table["person"], table["label"], 3, 2, 0)
        for table in (samples, shuffled)
    )
    for fold, other in zip(nested, again, strict=True):
        assert set(samples.index[fold.test]) == set(shuffled.index[other.test])
        for (_, choose), (_, also) in zip(fold.inner, other.inner, strict=True):
            assert set(samples.index[choose]) == set(shuffled.index[also])


def test_too_few_subjects():
    with pytest.raises(CohortError, match="3 subjects, but 4 parts.*fewer folds"):
        repeated_subject_folds(list("abc"), None, 4, 2, 0)
    with pytest.raises(CohortError, match="2 subjects, but 3 parts.*fewer folds"):
        nested_subject_folds(list("abc"), None, 3, 3, 0)
