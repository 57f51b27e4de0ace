"""Sentences: by how much, to which side, and why."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from immo_hpc.analysis.reproduce.published import IBDMDB, IPOP
from immo_hpc.analysis.reproduce.score_verdicts import auc_verdict, compared, gain_verdict
from immo_hpc.analysis.reproduce.verdicts import (
    feature_verdict,
    mask_verdict,
    search_verdict,
    subset_verdict,
)


@given(st.floats(0, 1), st.floats(0, 1))
@few(max_examples=40)
def test_the_side_of_a_difference_is_told_right(paper, ours):
    told = compared("The AUC", paper, ours)
    assert ("above" in told) == (ours - paper >= 0.02)
    assert ("below" in told) == (paper - ours >= 0.02)
    assert ("as published" in told) == (abs(ours - paper) < 0.02)


def test_what_could_not_be_measured_is_said():
    assert compared("It", 0.9, float("nan")) == "It could not be measured here (published: 0.90)."


def subsets(*gaps):
    return pd.DataFrame(
        {
            "subset": [item.name for item in IBDMDB.subsets[: len(gaps)]],
            "paper_samples": [item.samples for item in IBDMDB.subsets[: len(gaps)]],
            "samples": [
                item.samples + gap for item, gap in zip(IBDMDB.subsets, gaps, strict=False)
            ],
        }
    )


def test_counts():
    assert subset_verdict(subsets(0, 0), IBDMDB) == (
        "2 of 2 subsets have exactly the paper's number of samples.",
    )
    told = subset_verdict(subsets(0, 1, -3), IBDMDB)[0]
    assert "1 of 3 subsets" in told
    assert "bol_tra_common +1 and tra_bio_common \N{MINUS SIGN}3. The public tables are" in told


ABOUT = {
    "trials": 16,
    "start": 10,
    "suggested": 6,
    "best_fixed": 0.81,
    "paper_fixed": 0.90,
    "own_fixed": 0.95,
    "own_rank": 5,
}


@pytest.mark.parametrize(
    ("changes", "told", "not_told"),
    [
        ({}, "10.0% lower: there are better settings", "flat"),
        ({"best_fixed": 0.895}, "0.6% lower: the optimum is flat", "better settings"),
        ({"best_fixed": 0.90}, "no round was better", "lower"),
        ({"own_rank": 1}, "10.0% lower", "do not compare"),
        ({"paper_fixed": None}, "number 5 of 16", "The paper's optimum"),
    ],
)
def test_search(changes, told, not_told):
    lines = search_verdict(ABOUT | changes, IBDMDB)
    assert "16 rounds (10 fixed" in lines[0]
    assert "the paper made 50" in lines[0]
    assert told in " ".join(lines)
    assert not_told not in " ".join(lines)


@pytest.mark.parametrize(
    ("held_out", "told"), [(0.8, "ends 11.1% lower"), (0.95, "ends no lower (0.950 against 0.900)")]
)
def test_masks_are_judged_on_the_fixed_measure(held_out, told):
    base = {"by": "sample", "paper_fall": 0.615, "paper_epochs": 72, "epochs": 60.0, "fall": 0.3}
    rows = [
        {**base, "kind": "dynamic", "held_out": held_out},
        {**base, "kind": "static", "held_out": 0.9, "fall": 0.5, "epochs": 30.0},
    ]
    lines = mask_verdict(pd.DataFrame(rows))
    assert "falls no faster with the dynamic mask: by 30.0% in 10 epochs against 50.0%" in lines[0]
    assert told in lines[1]
    assert mask_verdict(pd.DataFrame()) == ()


def auc_rows(sample, subject):
    count = len(sample)
    return pd.DataFrame(
        {
            "subset": ["IBD_all"] * count,
            "title": ["A", "B"][:count],
            "paper": [0.9] * count,
            "sample": sample,
            "subject": subject,
            "subject_lower": np.array(subject) - 0.1,
            "subject_upper": np.array(subject) + 0.1,
        }
    )


PEOPLE = pd.DataFrame({"negative_subjects": [9, 19], "positive_subjects": [40, 60]}, dtype=object)


def test_auc():
    told = " ".join(auc_verdict(auc_rows([0.93, 0.80], [0.7, 0.55]), PEOPLE, IBDMDB))
    assert "1 of 2 AUCs are within .05 of the paper's" in told
    assert "the largest difference is B on IBD_all (0.80 against 0.90)" in told
    assert "reach 0.55 to 0.70 (0.62 on average against 0.86 by sample)" in told
    assert "lies inside 1 of 2 intervals" in told
    assert "The smaller group has 9 to 19 people" in told
    assert "below 0.5" not in told
    assert "whether the person is recognised" in told
    alike = " ".join(auc_verdict(auc_rows([0.70, 0.72], [0.7, 0.65]), PEOPLE, IBDMDB))
    assert "recognised" not in alike
    told = " ".join(auc_verdict(auc_rows([0.93, 0.80], [0.7, 0.3]), PEOPLE, IBDMDB))
    assert "lies inside 0 of 2 intervals" in told
    assert "1 intervals lie below 0.5" in told


def test_where_no_table_is_published_the_best_figure_is_compared():
    rows = auc_rows([0.95], [0.6]).assign(paper=None)
    told = auc_verdict(rows, PEOPLE, IPOP)[0]
    assert told.startswith("Split by sample, the highest AUC (A on IBD_all) is 0.95, 0.05 above")


def test_gains():
    rows = pd.DataFrame(
        {
            "sample_gain": [0.1, 0.01, -0.2],
            "sample_lower": [0.05, -0.1, -0.3],
            "sample_upper": [0.2, 0.1, -0.1],
        }
    )
    told, why = gain_verdict(rows, IBDMDB)
    assert told == (
        "Split by sample, the latent is ahead of the raw features in 2 of 3 subsets (mean over "
        "classifiers), beyond chance in 1, and behind beyond chance in 1; the paper: in 6 of 8."
    )
    assert "does not say how it filled" in why


def test_features(reproduction):
    lines = feature_verdict(reproduction.features, IBDMDB)
    told = (
        "Prevotella copri (first in the paper): s__Prevotella_copri stands at place 14 of mg here."
    )
    assert told in lines
    assert "Of 3 features in our top tens, 3 stand there in every one of 3 splits." in lines
    one = reproduction.features.assign(splits=1)
    assert "One split tells nothing" in feature_verdict(one, IBDMDB)[-2]
    less = reproduction.features.assign(in_top=[2, 3, 0, 3])
    assert any(
        "2 stand there" in line and "changes" in line for line in feature_verdict(less, IBDMDB)
    )
    assert lines[-1] == IBDMDB.feature_reason
