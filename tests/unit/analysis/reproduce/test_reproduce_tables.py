"""From parts to tables and pages: the figures are those of the parts, and names are escaped."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from immo_hpc.analysis.reproduce.auc_tables import auc_tables
from immo_hpc.analysis.reproduce.markdown import MARK, rendered, write_page
from immo_hpc.analysis.reproduce.masks import fall, mask_config
from immo_hpc.analysis.reproduce.page import render_reproduction
from immo_hpc.analysis.reproduce.part_tables import feature_table, search_tables
from immo_hpc.analysis.reproduce.published import IBDMDB
from immo_hpc.analysis.reproduce.results import Reproduction
from immo_hpc.errors import RunError


def test_by_sample_each_sample_counts_and_by_person_each_person(parts, reproduction):
    row = reproduction.auc.set_index(["subset", "classifier"]).loc[("IBD_all", "lda")]
    held = [part["subsets"]["IBD_all"] for part in parts.splits["sample"]]
    values = [roc_auc_score(own["y"], own["scores"]["latent"]["lda"]) for own in held]
    assert row["sample"] == pytest.approx(np.mean(values))
    assert row["sample_sd"] == pytest.approx(np.std(values, ddof=1))
    held = [part["subsets"]["IBD_all"] for part in parts.splits["subject"]]
    values = [
        roc_auc_score(
            [0] * 5 + [1] * 5, np.reshape(own["scores"]["latent"]["lda"], (10, 4)).mean(1)
        )
        for own in held
    ]
    assert row["subject"] == pytest.approx(np.mean(values))
    assert row["subject_lower"] <= row["subject"] <= row["subject_upper"]
    assert (row["paper"], row["sample_splits"], row["subject_splits"]) == (0.859, 2, 3)


def test_gains_are_paired_means_over_classifiers(reproduction):
    auc = reproduction.auc[reproduction.auc["subset"] == "IBD_all"]
    row = reproduction.gains.set_index("subset").loc["IBD_all"]
    assert row["sample_latent"] == pytest.approx(auc["sample"].mean())
    assert row["sample_raw"] == pytest.approx(auc["sample_raw"].mean())
    assert row["sample_gain"] == pytest.approx(row["sample_latent"] - row["sample_raw"])
    assert row["sample_lower"] < row["sample_gain"] < row["sample_upper"]


def test_a_split_without_one_of_the_groups_is_left_out(parts):
    parts.splits["subject"][0]["subsets"]["IBD_common"] = {"failed": "one class only"}
    for part in parts.splits["subject"]:
        part["subsets"]["bol_bio_common"] = {"failed": "one class only"}
    auc, gains, _ = auc_tables(parts.splits, IBDMDB, 0)
    auc = auc.set_index(["subset", "classifier"])
    assert auc.loc[("IBD_common", "svm"), "subject_splits"] == 2
    assert np.isnan(auc.loc[("bol_bio_common", "svm"), "subject"])
    assert np.isfinite(auc.loc[("bol_bio_common", "svm"), "sample"])
    assert np.isnan(gains.set_index("subset").loc["bol_bio_common", "subject_gain"])


def test_masks(reproduction):
    rows = reproduction.masks.set_index(["by", "kind"])
    dynamic = rows.loc[("sample", "dynamic")]
    expected = np.mean([fall(np.linspace(1, 0.4, n).tolist()) for n in (20, 30)])
    assert dynamic["fall"] == pytest.approx(expected)
    assert (dynamic["epochs"], dynamic["paper_epochs"]) == (25, 72)
    assert dynamic["held_out"] == pytest.approx(0.8)
    curve = reproduction.curves.set_index(["by", "kind", "epoch"])["loss"]
    assert curve["sample", "dynamic", 1] == 1
    last = np.mean([np.linspace(1, 0.4, n)[19] for n in (20, 30)])
    assert curve["sample", "dynamic", 20] == pytest.approx(last)
    assert len(curve["sample", "dynamic"]) == 20  # as long as both splits trained


def test_masks_differ_in_nothing_else(paper_config):
    dynamic, static = (mask_config(paper_config, "subject", kind) for kind in ("dynamic", "static"))
    assert dynamic.mask.dynamic
    assert not static.mask.dynamic
    assert dynamic.model_copy(update={"mask": static.mask}) == static
    assert {dynamic.mask.value_probability("mg", epoch) for epoch in (0, 50)} == {0.75}


def test_the_search_names_both_winners(parts):
    table, about = search_tables(parts.study, IBDMDB)
    keep = table.set_index("name").loc["initial_p"]
    assert (keep["paper_best"], keep["ours"], keep["by_own"]) == ("0.9", "0.5", "0.85")
    assert (about["trials"], about["start"], about["suggested"]) == (3, 2, 1)
    assert (about["best_fixed"], about["paper_fixed"], about["own_rank"]) == (0.88, 0.90, 3)
    assert search_tables(None, IBDMDB)[1] == {}


def test_of_a_named_genus_the_first_stands_in_the_table(reproduction):
    species = reproduction.features[reproduction.features["layer"] == "mg"]
    assert species["feature"].str.endswith("copri").sum() == 1
    # Only what is among the top ten of a split competes for a place there.
    table = species.set_index("feature")
    assert table["rank_in_layer"].tolist() == [1, 2, 14]
    assert table["in_top"].tolist() == [3, 3, 0]
    assert table.loc["s__Prevotella_copri", "share"] == 0


def test_what_only_the_paper_names_has_its_place_among_all(parts):
    for part in parts.splits["subject"]:
        first = part["features"][0]
        part["features"] += [
            {**first, "feature": f"other {n}", "rank_in_layer": n, "share": 0.2}
            for n in range(3, 11)
        ]
    table = feature_table(parts.splits["subject"], IBDMDB).set_index("feature")
    assert len(table[table["layer"] == "mg"]) == 11
    assert table.loc["s__Bacteroides_ovatus", "rank_in_layer"] == 10
    assert table.loc["s__Prevotella_copri", "rank_in_layer"] == 14
    # Of the genus the better one is enough.
    assert "s__Bacteroides_dorei" not in table.index


def test_it_survives_its_json(reproduction):
    values = json.loads(json.dumps(reproduction.to_dict(), allow_nan=False))
    again = Reproduction.from_dict(values, "here")
    assert again.to_dict() == reproduction.to_dict()
    assert render_reproduction(again) == render_reproduction(reproduction)
    with pytest.raises(RunError, match="expected immo-reproduction version 1, found None"):
        Reproduction.from_dict({}, "here")


def test_the_page_has_both_figures_of_every_part(reproduction):
    page = render_reproduction(reproduction)
    for told in (
        "Table 1: subsets",
        "Table 4: hyperparameters",
        "Fig. 2: dynamic against static mask",
        "Table 5: classifiers on the latent",
        "Fig. 3 and 4: latent against raw features",
        "Fig. 5: layers taken away",
        "Fig. 6: features by attribution",
        "0.47329",
        "61.5%",
        "0.993",
        "How it was made",
    ):
        assert told in page
    for lines in reproduction.verdicts.values():
        assert lines
    assert page.count("<svg") == 5
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http:" not in page.replace("http://www.w3.org", "")


def test_the_docs_are_rendered_below_the_mark(reproduction, tmp_path):
    page, file = tmp_path / "page.md", tmp_path / "one.json"
    page.write_text(f"# By hand\n\n{MARK}\n\nstale\n")
    file.write_text(json.dumps(reproduction.to_dict()))
    write_page(page, [file])
    text = page.read_text()
    assert text.startswith(f"# By hand\n\n{MARK}\n")
    assert "stale" not in text
    assert rendered([reproduction]) in text
    rows = [line for line in text.splitlines() if line.startswith("| IBD_all")]
    assert len(rows) == 4
    # A bar in a name does not end its cell.
    assert "alert(1)</script>\\|x" in text
