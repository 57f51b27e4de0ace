"""Splits: whole subjects, every label on every side, the same for any order of samples."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import SplitConfig
from immo_hpc.data.cohort import Roles
from immo_hpc.data.split import split_samples, subject_folds
from immo_hpc.errors import CohortError

ROLES = Roles(label="label", subject="person")


def _samples(seed, *, num_subjects=40, labels=("case", "control", None), weights=(6, 3, 1)):
    rng = np.random.default_rng(seed)
    people, given_labels = [], []
    for person in range(num_subjects):
        label = labels[rng.choice(len(labels), p=np.array(weights) / sum(weights))]
        visits = 1 + rng.poisson(5)
        people += [f"p{person}"] * visits
        given_labels += [label] * visits
    index = pd.Index([f"s{number}" for number in range(len(people))], name="sample_id")
    table = pd.DataFrame({"person": people, "label": given_labels}, index=index, dtype=object)
    return table.astype(object).where(table.notna(), None)


@given(
    st.integers(0, 10**6),
    st.integers(12, 60),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from([0.0, 0.15, 0.4]),
)
@settings(max_examples=30, deadline=None)
def test_split_by_subject(seed, num_subjects, test_fraction, validation_fraction):
    samples = _samples(seed, num_subjects=num_subjects)
    config = SplitConfig(test_fraction=test_fraction, validation_fraction=validation_fraction)
    samples["side"] = split_samples(samples, ROLES, config, seed)
    assert (samples.groupby("person")["side"].nunique() == 1).all()
    people = samples.drop_duplicates("person")
    shares = {
        "train": (1 - test_fraction) * (1 - validation_fraction),
        "validation": (1 - test_fraction) * validation_fraction,
        "test": test_fraction,
    }
    wanted = {side for side, share in shares.items() if share > 0}
    assert set(samples["side"]) == wanted
    for side, share in shares.items():
        held = (people["side"] == side).sum()
        # Rounding, and one subject of each label on each side, move single subjects.
        assert held == pytest.approx(num_subjects * share, abs=2.01)
    for _, same_label in people.groupby("label"):
        if len(same_label) >= 3:
            assert set(same_label["side"]) == wanted


def test_row_order_changes_nothing_and_the_seed_does():
    samples = _samples(1)
    sides = pd.Series(split_samples(samples, ROLES, SplitConfig(), 5), index=samples.index)
    shuffled = samples.sample(frac=1, random_state=0)
    again = pd.Series(split_samples(shuffled, ROLES, SplitConfig(), 5), index=shuffled.index)
    pd.testing.assert_series_equal(again.loc[samples.index], sides)
    other = split_samples(samples, ROLES, SplitConfig(), 6)
    assert (other != sides.to_numpy()).any()


def test_labels_have_the_same_share_on_each_side():
    samples = _samples(2, num_subjects=100, labels=("a", "b"), weights=(3, 1))
    samples["side"] = split_samples(samples, ROLES, SplitConfig(), 0)
    people = samples.drop_duplicates("person")
    wanted = (people["label"] == "b").mean()
    shares = people.groupby("side")["label"].agg(lambda column: (column == "b").mean())
    np.testing.assert_allclose(shares, wanted, atol=0.05)


def test_a_subject_with_very_many_visits_does_not_upset_the_sample_shares():
    small = [f"p{person}" for person in range(60) for _ in range(4)]
    table = pd.DataFrame({"person": small + ["big"] * 60})
    table.index = pd.Index([f"s{number}" for number in range(len(table))])
    for seed in range(5):
        sides = split_samples(table, Roles(subject="person"), SplitConfig(), seed)
        assert (sides == "test").mean() == pytest.approx(0.25, abs=0.06)
        assert (sides == "validation").mean() == pytest.approx(0.1125, abs=0.06)


def test_by_sample_ignores_subjects():
    samples = _samples(3)
    samples["side"] = split_samples(samples, ROLES, SplitConfig(by="sample"), 0)
    assert samples.groupby("person")["side"].nunique().max() == 3
    assert (samples["side"] == "test").mean() == pytest.approx(0.25, abs=0.01)


def test_samples_without_subject_stand_for_themselves():
    samples = _samples(4, labels=("a",), weights=(1,))
    samples["person"] = None
    samples.iloc[:20, 0] = "s30"
    samples["side"] = split_samples(samples, ROLES, SplitConfig(), 0)
    assert samples["side"].iloc[:20].nunique() == 1
    assert samples["side"].iloc[20:].nunique() == 3


def test_a_label_that_changes_within_a_subject_counts_by_majority():
    # Twelve subjects by majority 'b', although half of all samples say 'a'.
    samples = pd.DataFrame(
        {
            "person": np.repeat([f"p{number:02}" for number in range(24)], 3),
            "label": ["b", "a", "b"] * 12 + ["a", "a", "b"] * 12,
        },
        index=[f"s{number}" for number in range(72)],
    )
    samples["side"] = split_samples(samples, ROLES, SplitConfig(validation_fraction=0.34), 0)
    majority = samples.groupby("person")["label"].agg(lambda column: column.mode()[0])
    side = samples.groupby("person")["side"].first()
    counts = pd.crosstab(side, majority)
    np.testing.assert_array_equal(counts["a"], counts["b"])


@pytest.mark.parametrize(
    ("num_subjects", "config", "match"),
    [
        (1, SplitConfig(), r"1 subject, but 3 parts.*split.by=sample"),
        (2, SplitConfig(), r"2 subjects, but 3 parts.*split.test_fraction=0"),
        (1, SplitConfig(validation_fraction=0), "1 subject, but 2 parts"),
    ],
)
def test_too_few_subjects(num_subjects, config, match):
    samples = _samples(0, num_subjects=num_subjects)
    with pytest.raises(CohortError, match=match):
        split_samples(samples, ROLES, config, 0)


def test_one_subject_is_enough_to_train_without_tests():
    samples = _samples(0, num_subjects=1)
    config = SplitConfig(test_fraction=0, validation_fraction=0)
    assert set(split_samples(samples, ROLES, config, 0)) == {"train"}


def test_too_few_samples():
    samples = _samples(0).iloc[:2]
    with pytest.raises(CohortError, match="2 samples, but 3 parts"):
        split_samples(samples, ROLES, SplitConfig(by="sample"), 0)


@given(st.integers(0, 10**6), st.integers(2, 6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_folds_test_every_subject_once_with_every_label(seed, num_folds, labelled):
    samples = _samples(seed, num_subjects=30)
    labels = samples["label"] if labelled else None
    folds = subject_folds(samples["person"], labels, num_folds, seed)
    assert len(folds) == num_folds
    tested = np.concatenate([test for _, test in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(samples)))
    for train, test in folds:
        assert not set(samples["person"].iloc[train]) & set(samples["person"].iloc[test])
        assert len(train) + len(test) == len(samples)
        assert samples["person"].iloc[test].nunique() == pytest.approx(30 / num_folds, abs=2.01)
    if labelled:
        people = samples.drop_duplicates("person")["label"].value_counts()
        for label in people.index[people >= num_folds]:
            assert all((samples["label"].iloc[test] == label).any() for _, test in folds)


def test_folds_do_not_depend_on_the_order_of_samples():
    samples = _samples(7)
    shuffled = samples.sample(frac=1, random_state=1)
    folds = subject_folds(samples["person"], samples["label"], 4, 3)
    again = subject_folds(shuffled["person"], shuffled["label"], 4, 3)
    for (_, test), (_, other) in zip(folds, again, strict=True):
        assert set(samples.index[test]) == set(shuffled.index[other])


def test_more_folds_than_subjects():
    with pytest.raises(CohortError, match="2 subjects, but 5 parts.*fewer folds"):
        subject_folds(["a", "a", "b"], None, 5, 0)
