import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from immo_hpc.analysis import methods
from immo_hpc.analysis.choice import class_scores, fitted
from immo_hpc.analysis.classifiers import CLASSIFIERS, CommonScale
from immo_hpc.analysis.classify import classify, learn_fusion, predict
from immo_hpc.analysis.labels import labelled_samples, owner_codes
from immo_hpc.analysis.methods import on_matrix
from immo_hpc.errors import CohortError, UsageError

QUICK = ("ridge", "elastic_net", "lda")


def _latent(cohort):
    """Stand-in for an encoder: the features themselves, missing ones 0."""
    return np.nan_to_num(cohort.wide())


def _with_labels(cohort, labels):
    return replace(cohort, samples=cohort.samples.assign(label=labels))


def test_every_classifier_separates_what_is_separable(make_cohort):
    cohort = make_cohort(signal=12.0, missing=0.0)
    result = classify(_latent(cohort), cohort, seed=0, num_bootstrap=50)
    assert {score.name for score in result.scores if score.source == "latent"} == set(CLASSIFIERS)
    for score in result.scores:
        if score.name == "layers_only":
            assert score.subject_auc.value == 0.5
            continue
        # A label read off one column: some trees leave a test sample undecided.
        assert score.subject_auc.value > 0.99, score.name
        assert score.sample_auc.value > 0.99, score.name
        assert score.sample_split_auc > 0.99, score.name


def test_noise_is_not_separated(make_cohort):
    cohort = make_cohort(signal=0.0, num_subjects=60, seed=2)
    result = classify(_latent(cohort), cohort, seed=0, classifiers=QUICK)
    headline = result.head
    assert headline.subject_auc.lower <= 0.5 <= headline.subject_auc.upper
    assert "Chance (0.5) lies inside" in result.verdict
    assert result.difference.lower <= 0 <= result.difference.upper


def test_the_split_by_sample_recognises_people_not_the_label(make_cohort):
    cohort = make_cohort(signal=0.0, subject_effect=6.0, visits=5, missing=0.0)
    result = classify(_latent(cohort), cohort, seed=0, num_bootstrap=50, classifiers=["svm"])
    score = result.score("svm")
    assert score.sample_split_auc > 0.9
    assert score.sample_auc.value < 0.75


def test_choices_do_not_see_the_test_labels(make_cohort):
    cohort = make_cohort(num_subjects=48)
    labels = cohort.samples["label"].to_numpy().copy()
    test = np.flatnonzero(cohort.split == "test")
    labels[test] = np.random.default_rng(1).permutation(labels[test])
    one, other = (
        classify(_latent(cohort), kind, seed=0, num_bootstrap=20, classifiers=QUICK)
        for kind in (cohort, _with_labels(cohort, labels))
    )
    assert one.headline == other.headline
    for first, second in zip(one.scores, other.scores, strict=True):
        assert (first.name, first.setting) == (second.name, second.setting)
        np.testing.assert_equal(first.training_auc, second.training_auc)
    columns = ["score_control"]
    pd.testing.assert_frame_equal(one.predictions[columns], other.predictions[columns])
    assert one.head.subject_auc != other.head.subject_auc


def test_test_rows_are_not_used_in_fitting(make_cohort):
    cohort = make_cohort()
    latent = _latent(cohort)
    first_test = np.flatnonzero(cohort.split == "test")[0]
    spoilt = latent.copy()
    spoilt[first_test] = 1e3
    one, other = (
        classify(z, cohort, seed=0, num_bootstrap=20, classifiers=QUICK) for z in (latent, spoilt)
    )
    for name in QUICK:
        assert one.score(name).training_auc == other.score(name).training_auc
        assert one.score(name).setting == other.score(name).setting
    # All samples of a subject have its score.
    mine = one.predictions["subject"] == one.predictions["subject"].iloc[0]
    pd.testing.assert_frame_equal(one.predictions[~mine], other.predictions[~mine])
    changed = one.predictions["score_control"] != other.predictions["score_control"]
    assert changed[mine].all()


def test_two_runs_are_equal(make_cohort):
    cohort = make_cohort(num_subjects=24)
    one, other = (classify(_latent(cohort), cohort, seed=3, num_bootstrap=20) for _ in range(2))
    assert one.to_dict() == other.to_dict()


def test_several_classes(make_cohort):
    cohort = make_cohort(classes=("x", "y", "z"), num_subjects=60, signal=2.0)
    result = classify(_latent(cohort), cohort, seed=0, num_bootstrap=50)
    assert result.classes == ("x", "y", "z")
    assert list(result.predictions.columns) == ["subject", "label"] + [
        f"{what}_{name}" for what in ("score", "probability") for name in "xyz"
    ]
    # The class in the middle is not linearly separable from the rest.
    assert result.score("late_fusion", "baseline").subject_auc.lower > 0.6
    assert result.head.subject_auc.lower > 0.6
    assert all(np.isfinite(curve.true_positive).all() for curve in result.curves)


def test_samples_without_a_label_change_nothing(make_cohort):
    cohort = make_cohort()
    labels = cohort.samples["label"].copy()
    unlabelled = np.arange(0, 120, 7)
    labels.iloc[unlabelled] = None
    cohort = _with_labels(cohort, labels)
    latent = _latent(cohort)
    spoilt = latent.copy()
    spoilt[unlabelled] = 99
    one, other = (
        classify(z, cohort, seed=0, num_bootstrap=20, classifiers=QUICK).to_dict()
        for z in (latent, spoilt)
    )
    assert one == other
    assert f"{len(unlabelled)} of 120 samples carry no label" in one["notices"][0]


def test_a_tiny_class_is_borne(make_cohort):
    cohort = make_cohort(num_subjects=12, visits=1)
    labels = cohort.samples["label"].to_numpy().copy()
    labels[:] = "control"
    labels[[0, int(np.flatnonzero(cohort.split == "test")[0])]] = "case"
    result = classify(_latent(cohort), _with_labels(cohort, labels), seed=0, num_bootstrap=20)
    assert any("fewer than two training subjects" in notice for notice in result.notices)
    # With a single case there is nothing to fit: everybody scores alike.
    assert result.head.subject_auc.value == 0.5


def test_the_result_is_json_and_its_table_complete(make_cohort):
    cohort = make_cohort(num_subjects=24)
    result = classify(_latent(cohort), cohort, seed=0, num_bootstrap=20, classifiers=["ridge"])
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["headline"] == "fusion"
    table = result.table
    assert table.loc[table["headline"], "name"].tolist() == ["fusion"]
    kinds = list(zip(table["name"], table["source"], strict=True))
    assert kinds == [
        ("fusion", "fused"),
        ("ridge", "latent"),
        ("ridge", "raw"),
        ("random_forest", "raw"),
        ("logistic", "raw"),
        ("late_fusion", "baseline"),
        ("weighted_fusion", "baseline"),
        ("product", "baseline"),
        ("layers_only", "baseline"),
    ]
    assert result.counts["samples"].sum() == len(cohort.samples)
    for curve in result.curves:
        assert (curve.false_positive[0], curve.true_positive[0]) == (0, 0)
        assert (curve.false_positive[-1], curve.true_positive[-1]) == (1, 1)
    with pytest.raises(KeyError):
        result.score("svm")


def test_the_scale_of_the_latent_does_not_matter(make_cohort):
    cohort = make_cohort(num_subjects=24)
    latent = _latent(cohort)
    one, other = (
        classify(z, cohort, seed=0, num_bootstrap=20, classifiers=["ridge", "lda"])
        for z in (latent, 64 * latent)
    )
    for name in ("ridge", "lda"):
        assert one.score(name).subject_auc == other.score(name).subject_auc


def test_common_scale_keeps_the_proportions_of_the_features():
    x = np.array([[0.0, 0.0], [2.0, 20.0]])
    scaled = CommonScale().fit(x).transform(x)
    np.testing.assert_allclose(scaled[:, 1], 10 * scaled[:, 0])
    np.testing.assert_allclose(scaled.var(axis=0).mean(), 1)
    assert (CommonScale().fit(np.ones((3, 2))).transform(np.ones((3, 2))) == 0).all()


def test_a_class_not_seen_in_fitting_scores_zero():
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.repeat([0, 2], 10)
    estimator = fitted(CLASSIFIERS["ridge"].settings["alpha=100"], x, y, seed=0)
    scores = class_scores(estimator, x, num_classes=3)
    assert (scores[:, 1] == 0).all()
    np.testing.assert_allclose(scores[:, 0], -scores[:, 2])


def test_predict_uses_the_classifier_that_was_scored(make_cohort):
    cohort = make_cohort(num_subjects=24, signal=3.0)
    latent = _latent(cohort)
    result = classify(latent, cohort, seed=0, num_bootstrap=20, classifiers=QUICK)
    test = np.flatnonzero(cohort.split == "test")
    fusion = learn_fusion(latent, cohort, seed=0)
    new, ids = cohort.take(test), [cohort.sample_ids[place] for place in test]
    subject = owner_codes(new.samples, new.roles)
    table = predict(fusion, fusion.scores(new, latent[test]), subject, ids)
    columns = ["probability_case", "probability_control"]
    pd.testing.assert_frame_equal(table[columns], result.predictions[columns])
    expected = np.where(table["probability_control"] > 0.5, "control", "case")
    np.testing.assert_array_equal(table["predicted"], expected)
    assert table.groupby(subject)["probability_case"].nunique().eq(1).all()
    nobody = new.take([])
    none = predict(fusion, fusion.scores(nobody, latent[:0]), subject[:0], [])
    assert none.empty
    assert list(none.columns) == ["predicted", *columns]


def test_a_split_by_sample_is_said(make_cohort):
    cohort = make_cohort(num_subjects=24)
    split = np.where(np.arange(len(cohort.samples)) % 3 == 0, "test", "train")
    cohort = replace(cohort, split=split)
    result = classify(_latent(cohort), cohort, seed=0, num_bootstrap=20, classifiers=["ridge"])
    assert "24 subjects stand on both sides" in result.notices[0]
    assert "unseen" not in result.verdict


def test_wrong_calls_are_refused(make_cohort):
    cohort = make_cohort(num_subjects=12)
    with pytest.raises(UsageError, match=r"found \['tree'\]; choose from svm"):
        classify(_latent(cohort), cohort, seed=0, classifiers=["tree"])
    with pytest.raises(UsageError, match="one row for each of the 36 samples"):
        classify(_latent(cohort)[1:], cohort, seed=0)
    with pytest.raises(CohortError, match="one class only"):
        classify(_latent(cohort), _with_labels(cohort, "case"), seed=0)


def test_wide_features_are_read_by_components_of_training_samples(make_cohort, monkeypatch):
    monkeypatch.setattr(methods, "_WIDE", 30)
    monkeypatch.setattr(methods, "_COMPONENTS", 7)
    cohort = make_cohort(signal=6.0, missing=0.0, features=(40, 20))
    data = labelled_samples(cohort)
    x, folds = np.nan_to_num(cohort.wide()[data.index]), data.folds(0)
    training, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)
    for name, classifier in CLASSIFIERS.items():
        made = on_matrix(classifier, "raw", x, data, folds, 0)
        assert made.setting.endswith(", 7 principal components") != classifier.reads_wide, name
        said = made.scores(training, test)
        positive = data.y[test] == 1
        assert said[positive].min() > said[~positive].max() or name == "lda", name
        # What is said of training samples does not change with the test samples.
        other = x.copy()
        other[test] *= -9
        again = on_matrix(classifier, "raw", other, data, folds, 0)
        np.testing.assert_array_equal(
            made.scores(training, training), again.scores(training, training), name
        )


def test_a_classifier_that_stops_early_does_not_warn():
    x, y = np.random.default_rng(0).normal(size=(40, 30)), np.arange(40) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitted(lambda seed: LogisticRegression(max_iter=1), x, y, 0) is not None
