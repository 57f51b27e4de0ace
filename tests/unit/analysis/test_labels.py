from dataclasses import replace

import numpy as np
import pytest

from immo_hpc.analysis.labels import labelled_samples, main_label
from immo_hpc.data.cohort import Roles
from immo_hpc.errors import CohortError


def _with_labels(cohort, labels):
    return replace(cohort, samples=cohort.samples.assign(label=labels))


def test_codes_and_sides(make_cohort):
    cohort = make_cohort()
    data = labelled_samples(cohort)
    assert data.classes == ("case", "control")
    texts = np.array(data.classes)[data.y]
    np.testing.assert_array_equal(texts, cohort.samples["label"])
    np.testing.assert_array_equal(data.training, np.isin(cohort.split, ["train", "validation"]))
    assert data.num_shared == 0


def test_the_positive_class_stands_last(make_cohort):
    cohort = make_cohort()
    roles = replace(cohort.roles, positive="case")
    assert labelled_samples(replace(cohort, roles=roles)).classes == ("control", "case")
    roles = replace(cohort.roles, positive="sick")
    with pytest.raises(CohortError, match=r"'sick', but the classes are \['case', 'control'\]"):
        labelled_samples(replace(cohort, roles=roles))


def test_samples_without_a_label_are_left_out_and_said(make_cohort):
    cohort = make_cohort()
    labels = cohort.samples["label"].copy()
    labels.iloc[[0, 5]] = None
    data = labelled_samples(_with_labels(cohort, labels))
    assert not np.isin([0, 5], data.index).any()
    assert "2 of 120 samples carry no label" in data.notices[0]


def test_a_class_that_no_training_subject_has_is_left_out(make_cohort):
    cohort = make_cohort()
    labels = cohort.samples["label"].copy()
    labels.iloc[np.flatnonzero(cohort.split == "test")[:3]] = "rare"
    data = labelled_samples(_with_labels(cohort, labels))
    assert data.classes == ("case", "control")
    assert "3 test samples left out: their class ('rare')" in data.notices[0]


def test_folds_keep_subjects_whole_and_inside_the_training_side(make_cohort):
    data = labelled_samples(make_cohort())
    folds = data.folds(seed=0)
    assert len(folds) == 5
    for fit, score in folds:
        assert data.training[fit].all()
        assert data.training[score].all()
        assert not np.isin(data.subject[score], data.subject[fit]).any()
        assert len(np.unique(data.y[score])) == 2
    scored = np.concatenate([score for _, score in folds])
    np.testing.assert_array_equal(np.sort(scored), np.flatnonzero(data.training))


def test_no_folds_where_a_class_has_one_training_subject(make_cohort):
    cohort = make_cohort()
    labels = np.where(cohort.samples["person"] == "p00", "case", "control").astype(object)
    labels[np.flatnonzero(cohort.split == "test")[:3]] = "case"
    assert labelled_samples(_with_labels(cohort, labels)).folds(seed=0) == []


def test_main_label_is_the_most_frequent():
    assert main_label(np.array([1, 1, 0, 0, 1]), np.array([7, 7, 7, 9, 9])) == {7: 1, 9: 0}


def test_a_split_by_sample_is_noticed(make_cohort):
    cohort = make_cohort()
    split = np.where(np.arange(len(cohort.samples)) % 3 == 0, "test", "train")
    assert labelled_samples(replace(cohort, split=split)).num_shared == 40


def test_without_subjects_every_sample_is_one(make_cohort):
    cohort = make_cohort()
    data = labelled_samples(replace(cohort, roles=Roles(label="label")))
    assert len(np.unique(data.subject)) == 120
    assert "No subject column" in data.notices[-1]


def test_an_unknown_subject_is_one_of_its_own(make_cohort):
    cohort = make_cohort()
    persons = cohort.samples["person"].copy()
    persons.iloc[:2] = None
    data = labelled_samples(replace(cohort, samples=cohort.samples.assign(person=persons)))
    assert len(np.unique(data.subject)) == 42


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, roles=Roles(subject="person")), "no label column is named"),
        (lambda c: replace(c, roles=Roles(label="sex")), "there is no column 'sex'.*label, person"),
        (lambda c: replace(c, split=None), "no training and test side"),
        (lambda c: _with_labels(c, "case"), r"one class only \('case'\) in 120 samples"),
        (lambda c: _with_labels(c, None), "found no label in 0 samples"),
        (
            lambda c: _with_labels(c, np.where(c.split == "test", "x", c.samples["label"])),
            "among the test subjects, found no label",
        ),
        (
            lambda c: _with_labels(c, np.where(c.split == "test", c.samples["label"], "case")),
            r"the training subjects \(train, validation\), found one class only",
        ),
        (
            lambda c: replace(c, samples=c.samples.assign(person="p00")),
            "all labelled samples come from one subject \\('p00'\\)",
        ),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(make_cohort, change, message):
    with pytest.raises(CohortError, match=message):
        labelled_samples(change(make_cohort()))
