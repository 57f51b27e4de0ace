import dataclasses

import pandas as pd

from immo_hpc.analysis.explaining.results import (
    ExclusionResult,
    PermutationResult,
    StabilityResult,
)
from immo_hpc.analysis.report.believing import (
    exclusion_table,
    feature_table,
    trust_notes,
    trust_table,
)
from immo_hpc.analysis.report.text import UNDEFINED
from immo_hpc.analysis.results import Interval


def _checked(result):
    """The result with every check beside it."""
    layers = list(result.layers["layer"])
    features = result.features.assign(
        mean_rank=2.5, rank_sd=1.25, top_share=0.8, sign_agreement=0.9, retrained_top_share=0.4
    )
    index = pd.DataFrame({"layer": layers, "num_features": 9, "top": 3, "index": 0.51})
    stability = StabilityResult("refitted", 10, index, pd.DataFrame())
    permutation = PermutationResult(
        num_people=30,
        num_repeats=10,
        loss=0.5,
        auc=0.8,
        features=pd.DataFrame(),
        layers=pd.DataFrame({"layer": layers[:1], "spearman": 0.33, "top": 3, "top_needed": 2}),
    )
    exclusion = ExclusionResult(
        features=pd.DataFrame({"layer": "mb", "feature": ["<drug>", "dye"], "share": [0.1, 0.02]}),
        auc_all=Interval(0.8, 0.7, 0.9),
        auc_without=Interval(0.75, 0.6, 0.9),
        difference=Interval(-0.05, -0.1, 0.01),
        layers=pd.DataFrame(),
        top=pd.DataFrame(
            {"layer": "mb", "rank": [1, 2], "all": ["<drug>", "x"], "without": ["x", None]}
        ),
    )
    return dataclasses.replace(
        result,
        features=features,
        layers=result.layers.assign(share_lower=0.1, share_upper=0.6),
        stability=stability,
        permutation=permutation,
        exclusion=exclusion,
        completeness_max=0.07,
        held_out_auc=Interval(0.75, 0.6, 0.9),
    )


def test_each_feature_is_told_with_its_stability(make):
    plain = feature_table(make["attribution"]())
    assert plain.head[-1] == "share"
    table = feature_table(_checked(make["attribution"]()))
    assert table.head[-4:] == (
        "rank in refits",
        "in the top",
        "same direction",
        "in the top, networks",
    )
    assert {row[-4:] for row in table.rows} == {("2.5 ± 1.2", "80%", "90%", "40%")}
    assert "10 refits (refitted)" in table.note


def test_each_layer_is_told_its_stability_and_need(make):
    result = _checked(make["attribution"]())
    table = trust_table(result)
    first = dict(zip(table.head, table.rows[0], strict=True))
    assert first["share of the attribution"].endswith("[10%, 60%]")
    assert first["stability, people"] == "0.51"
    assert first["rank correlation with permutation"] == "0.33"
    assert first["top features needed"] == "2 of 3"
    assert dict(zip(table.head, table.rows[1], strict=True))["top features needed"] == UNDEFINED
    assert "on average, 7.0% at worst" in trust_notes(result)[1]
    assert "on held-out people" in trust_notes(result)[2]


def test_exclusions_stand_side_by_side(make):
    assert exclusion_table(make["attribution"]()) is None
    table = exclusion_table(_checked(make["attribution"]()))
    assert table.rows == (("mb", "1", "<drug>", "x"), ("mb", "2", "x", UNDEFINED))
    assert "2 features (mb:<drug>, mb:dye), which had 12.0% of the attribution" in table.note
    assert "difference" in table.note


def test_the_page_shows_all_of_it(make, tmp_path):
    from immo_hpc.analysis.report import write_report

    result = _checked(make["attribution"]())
    result = dataclasses.replace(result, product=_checked(make["attribution"]()))
    write_report(make["content"](12, attribution=result), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in ("How far to believe it", "With and without excluded features", "&lt;drug&gt;"):
        assert text in page
    assert "<drug>" not in page
