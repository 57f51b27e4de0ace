"""The sentences on what may be concluded follow the numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from immo_hpc.analysis.report.conclusions import best_rival, conclude, rival_wins
from immo_hpc.analysis.report.tables import classification_table
from immo_hpc.analysis.results import Interval


def said(content):
    found = conclude(content)
    return " ".join(found.may), " ".join(found.may_not)


def test_everyone_has_a_place(content):
    may, _ = said(content)
    assert f"All {content.num_samples:,} samples of 60 people" in may
    assert f"{1 - content.measured.mean():.0%} of the layer blocks" in may


def test_auc_above_chance_may_be_told_with_who_was_held_out(make):
    result = make["classification"](0.8, 0.7, half=0.1, test_people=(12, 30))
    may, may_not = said(make["content"](classification=result))
    assert "On held-out people (12 nonIBD and 30 IBD)" in may
    assert "AUC of 0.80 (95 % interval 0.70 to 0.90): better than chance" in may
    assert "rough estimate" not in may_not


def test_classes_that_are_numbers_carry_the_name_of_the_label(make):
    content = make["content"]()
    samples = content.samples.replace({"diagnosis": {"IBD": "1", "nonIBD": "0"}})
    result = make["classification"]()
    counts = result.counts.replace({"class": {"IBD": "1", "nonIBD": "0"}})
    result = make["replace"](result, classes=("0", "1"), counts=counts)
    may, _ = said(make["replace"](content, samples=samples, classification=result))
    assert "(4 diagnosis=0 and 12 diagnosis=1)" in may
    assert "tells diagnosis=0 and diagnosis=1 apart" in may
    assert "of the diagnosis=1 samples" in may


def test_auc_near_chance_may_not_be_told_as_a_finding(make):
    result = make["classification"](0.6, 0.55, half=0.2)
    may, may_not = said(make["content"](classification=result))
    assert "better than chance" not in may
    assert "0.60 (95 % interval 0.40 to 0.80): chance (0.5) is not excluded" in may_not
    assert "They explain a classifier that is not shown to be better than chance" in may_not
    assert "candidates" not in may


def test_undefined_auc_is_said_to_be(make):
    result = make["classification"](test_people=(0, 9))
    nothing = Interval(math.nan, math.nan, math.nan)
    scores = tuple(make["replace"](score, subject_auc=nothing) for score in result.scores)
    result = make["replace"](result, scores=scores, difference=nothing)
    _, may_not = said(make["content"](classification=result))
    assert "undefined (0 nonIBD and 9 IBD)" in may_not
    assert best_rival(result) is None


def test_a_headline_of_layers_and_latent_speaks_for_the_model(make):
    result = make["classification"](0.8, 0.75, half=0.1, test_people=(12, 30))
    own = Interval(0.9, 0.8, 1.0)
    fused = replace(
        result.head, name="fusion", title="Product of experts", source="fused", subject_auc=own
    )
    result = replace(
        result, headline="fusion", headline_source="fused", scores=(fused, *result.scores)
    )
    assert result.table.loc[result.table["headline"], "name"].tolist() == ["fusion"]
    assert best_rival(result).source in ("raw", "baseline")
    assert not rival_wins(result)
    content = make["content"](classification=result)
    may, _ = said(content)
    assert "Product of experts tells nonIBD and IBD apart with an AUC of 0.90" in may
    table = classification_table(result, "people", has_repeats=True)
    assert table.rows[0][:2] == ("Product of experts · headline", "layers, latent")


def test_few_people_of_a_class_make_a_rough_estimate(make):
    _, may_not = said(make["content"](classification=make["classification"](test_people=(4, 12))))
    assert "With only 4 held-out people in the smallest class" in may_not


@pytest.mark.parametrize(
    ("latent", "fusion", "half", "expected"),
    [
        (
            0.9,
            0.7,
            0.1,
            ("", "No method without the latent did better", "is better than late fusion"),
        ),
        (0.7, 0.9, 0.1, ("not shown to improve", "Late fusion", "worse than a simple baseline")),
        (0.7, 0.72, 0.2, ("not shown to improve", "Late fusion", "baseline is better is open")),
    ],
)
def test_baselines_that_win_are_named(make, latent, fusion, half, expected):
    result = make["classification"](latent, fusion, half=half)
    assert rival_wins(result) == (fusion > latent)
    both = " ".join(said(make["content"](classification=result)))
    for words in expected:
        assert words in both
    assert ("not shown to improve" in both) == (fusion > latent)


def test_split_by_sample_is_a_warning_only_where_it_differs(make):
    _, warned = said(make["content"](classification=make["classification"](0.72, sample=0.95)))
    assert "Do not quote the 0.95 of a split by sample" in warned
    may, may_not = said(make["content"](classification=make["classification"](0.72, sample=0.73)))
    assert "promises hardly more here (0.73, against 0.72 for the samples" in may
    assert "Do not quote" not in may_not


def test_split_by_sample_needs_repeats_to_inflate(make):
    content = make["content"](40, 1)
    once = ~content.subjects.duplicated().to_numpy()
    alone = make["replace"](
        content,
        samples=content.samples[once],
        measured=content.measured[once],
        split=content.split[once],
        latent=content.latent[once],
    )
    assert not alone.has_repeats
    assert "Do not quote" not in " ".join(said(alone))


def test_people_on_both_sides_are_called_out(make):
    content = make["content"]()
    split = np.where(np.arange(content.num_samples) % 3 == 0, "test", "train")
    mixed = make["replace"](content, split=split)
    assert mixed.unit == "samples"
    _, may_not = said(mixed)
    assert "Some people stand on the training and on the test side" in may_not
    assert "Some people stand" not in said(content)[1]


def test_imputation_is_weighed_against_ridge_and_mean(make):
    may, may_not = said(make["content"](imputation=make["imputation"](0.12, 0.10)))
    assert "single values (mg 0.12, mt 0.12, mb 0.07) and whole layers (mg 0.12" in may
    assert "It fills in better than ridge regression here: single values (mg, mt)" in may
    assert (
        "Ridge regression fills in better here: single values (mb) and whole layers (mb)" in may_not
    )
    assert "a tendency, not a measurement" in may_not


def test_useless_imputation_is_called_useless(make):
    may, may_not = said(make["content"](imputation=make["imputation"](-0.2, 0.1)))
    assert "Filling in does better" not in may
    assert "not shown to beat the average here: single values (mg, mt, mb)" in may_not
    assert "a tendency" not in may_not


def test_strong_imputation_needs_no_caution(make):
    imputation = make["imputation"](0.8, 0.5)
    may, may_not = said(make["content"](imputation=imputation))
    assert "a tendency" not in may_not
    assert "It fills in better than ridge regression" in may


def test_difference_within_chance_stays_open(make):
    _, may_not = said(make["content"](imputation=make["imputation"](0.10, 0.10, half=0.3)))
    assert "Whether the model or ridge regression fills in better is open here" in may_not


def test_missingness_that_goes_with_the_label_is_a_caveat(make):
    content = make["content"]()
    may, _ = said(content)
    assert "hardly depends on the label" in may
    measured = content.measured.copy()
    measured[:, 2] = (content.samples["diagnosis"] == "IBD").to_numpy()
    _, may_not = said(make["replace"](content, measured=measured))
    assert "layer mb was measured in 100% of the IBD samples and in 0% of the nonIBD" in may_not


def test_rare_labels_say_nothing_about_missingness(make):
    content = make["content"]()
    samples, measured = content.samples.copy(), content.measured.copy()
    samples.iloc[:3, 0] = "rare"
    measured[:3, 2] = False
    may, _ = said(make["replace"](content, samples=samples, measured=measured))
    assert "hardly depends on the label" in may


def test_pattern_that_predicts_the_label_is_a_caveat(make):
    result = make["classification"](half=0.1)
    telling = Interval(0.8, 0.7, 0.9)
    scores = tuple(
        make["replace"](score, subject_auc=telling) if score.name == "layers_only" else score
        for score in result.scores
    )
    _, may_not = said(make["content"](classification=make["replace"](result, scores=scores)))
    assert "which layers exist, alone, gives an AUC of 0.80 (95 % interval 0.70 to 0.90)" in may_not


def test_attributions_are_never_causes(make):
    may, may_not = said(make["content"]())
    assert "not causes" in may_not
    assert "candidates worth checking" in may
    doubtful = make["attribution"](passed=False, error=0.3)
    _, may_not = said(make["content"](attribution=doubtful))
    assert "A model with random weights names much the same features" in may_not
    assert "miss 30% of the scores" in may_not


def test_what_was_not_tested_is_said(make):
    _, may_not = said(make["content"](classification=None, imputation=None, attribution=None))
    assert "Nothing can be said about telling people apart" in may_not
    assert "How well missing values are filled in was not tested" in may_not
