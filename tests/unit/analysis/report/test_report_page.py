"""The page as text: whole, safe, small, the same twice, and honest about what is absent."""

import itertools
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from immo_hpc.analysis.coverage import CoverageResult
from immo_hpc.analysis.report import render_report, write_report
from immo_hpc.analysis.results import Interval
from immo_hpc.data.cohort import Roles
from immo_hpc.errors import OutputError

EVIL_TAG = "<script>alert(1)</script>"
EVIL_ATTRIBUTE = '"><img src=x onerror=1>'


class Elements(HTMLParser):
    """Tags, attributes, ids and the text outside of style sheets."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.ids, self.words = Counter(), [], [], []
        self.headings = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag in {"h1", "h2", "h3", "h4"}:
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(whole):
    """The page of the whole content, rendered once."""
    return render_report(whole)


def test_every_part_has_its_figures(page):
    found = Elements(page)
    figures = [value for tag, name, value in found.attributes if (tag, name) == ("figure", "id")]
    assert figures == [
        "figure-patterns",
        "figure-training-loss",
        "figure-training-values",
        "figure-training-layers",
        "figure-training-keep",
        "figure-latent-label",
        "figure-latent-subject",
        "figure-latent-batch",
        "figure-roc",
        "figure-auc",
        "figure-imputation-values",
        "figure-imputation-layers",
        "figure-features-1",
        "figure-features-2",
        "figure-features-3",
    ]
    assert found.tags["figcaption"] == found.tags["figure"] == found.tags["svg"] == 15


def test_every_drawing_is_described_and_ids_are_unique(page):
    found = Elements(page)
    described = [
        value for tag, name, value in found.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert len(described) == found.tags["svg"]
    assert min(len(text) for text in described) > 30
    assert [name for name, count in Counter(found.ids).items() if count > 1] == []
    links = {value for _, name, value in found.attributes if name.endswith("href")}
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= set(found.ids)


def test_headings_go_down_one_step_at_a_time(page):
    levels = Elements(page).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_nothing_comes_from_outside(page):
    found = Elements(page)
    assert not found.tags.keys() & {"script", "iframe", "object", "img", "audio", "video"}
    loaded = [
        value
        for _, name, value in found.attributes
        if name in {"src", "href", "xlink:href", "srcset", "action"}
    ]
    assert all(value.startswith(("#", "data:")) for value in loaded), loaded
    assert "@import" not in page
    assert "url(http" not in page


def test_numbers_reach_the_page(page, whole):
    text = Elements(page).text
    for expected in (
        f"{whole.num_samples:,}",
        "0.72 [0.57, 0.87]",
        "split by sample (inflated)",
        "commit 0123abc",
        "seed 7",
        "latent_dim: 110",
        "the weights of epoch 40 were kept",
        "kind 'composition' was guessed",
    ):
        assert expected in text, expected


def test_same_content_gives_the_same_page(make):
    assert render_report(make["content"](20)) == render_report(make["content"](20))


def test_seventeen_hundred_samples_stay_below_two_megabytes(make, tmp_path):
    content = make["content"](130, 13)
    assert content.num_samples > 1600
    assert write_report(content, tmp_path / "report.html").stat().st_size < 2e6


def test_names_from_data_are_only_words(make):
    content = make["content"](12)
    samples = content.samples.copy()
    samples.loc[samples["diagnosis"] == "IBD", "diagnosis"] = EVIL_ATTRIBUTE
    samples["subject_id"] = samples["subject_id"] + EVIL_TAG
    samples["site"] = samples["site"] + EVIL_ATTRIBUTE
    layers = (EVIL_TAG, EVIL_ATTRIBUTE, "a]]>b&amp;<!--\x01")
    attribution = make["attribution"](
        {layer: [EVIL_TAG, EVIL_ATTRIBUTE, "$x_1$ {{ 7 * 7 }}"] for layer in layers},
        classes=("nonIBD", EVIL_ATTRIBUTE),
    )
    imputation = make["imputation"]()
    names = dict(zip(("mg", "mt", "mb"), layers, strict=True))
    imputation = make["replace"](
        imputation,
        scores=imputation.scores.assign(layer=imputation.scores["layer"].map(names)),
        differences=imputation.differences.assign(layer=imputation.differences["layer"].map(names)),
    )
    metrics = [{"epoch": 0, "loss": 1.0, "keep": dict.fromkeys(layers, 0.75)}]
    evil = make["replace"](
        content,
        cohort=EVIL_ATTRIBUTE,
        samples=samples,
        layers=layers,
        kinds=dict.fromkeys(layers, EVIL_TAG),
        metrics=metrics,
        attribution=attribution,
        imputation=imputation,
        notices=(EVIL_TAG,),
        config=f"name: {EVIL_TAG}</code></pre>",
        versions={EVIL_TAG: EVIL_ATTRIBUTE},
        commit=EVIL_TAG,
        absent={"training": EVIL_TAG},
    )
    found = Elements(render_report(evil))
    assert not found.tags.keys() & {"script", "img"}
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert EVIL_TAG in found.text
    assert EVIL_ATTRIBUTE in found.text
    assert "$x_1$ {{ 7 * 7 }}" in found.text


def test_absent_parts_say_why(make):
    content = make["content"](
        12,
        roles=Roles(),
        split=None,
        latent=None,
        metrics=(),
        classification=None,
        imputation=None,
        attribution=None,
        absent={"imputation": "Nobody was held out: the cohort has two people."},
        config="",
        notices=(),
        commit=None,
        seed=None,
    )
    found = Elements(render_report(content))
    assert found.tags["figure"] == 1  # the patterns: there is always something measured
    for expected in (
        "No record of the training was found.",
        "No latent space was computed.",
        "No label is known, so nothing was classified.",
        "Nobody was held out: the cohort has two people.",
        "There is no classifier to explain.",
        "No subject column was named",
        "not named",
    ):
        assert expected in found.text, expected


def test_split_by_sample_is_marked_only_where_people_come_again(make):
    content = make["content"](12, imputation=None, attribution=None, metrics=())
    assert "split by sample (inflated)" in render_report(content)
    samples = content.samples.assign(subject_id=list(content.samples.index))
    once = render_report(make["replace"](content, samples=samples))
    assert "split by sample" in once
    assert "inflated" not in once


def test_many_combinations_are_folded_away(make):
    content = make["content"](60, metrics=(), latent=None, classification=None, attribution=None)
    layers = tuple("abcdefg")
    measured = np.random.default_rng(0).random((content.num_samples, 7)) < 0.6
    measured[:, 0] = True
    wide = make["replace"](content, layers=layers, measured=measured, kinds={}, num_features={})
    num_patterns = len(np.unique(measured, axis=0))
    found = Elements(render_report(wide))
    assert f"7 layers in {num_patterns} combinations" in found.text
    assert "Figure and table show the 16 most frequent combinations" in found.text
    assert "All combinations" in found.text
    assert "All combinations" not in Elements(render_report(content)).text


def test_map_without_any_group_is_still_a_map(make):
    content = make["content"](12, roles=Roles(), classification=None, attribution=None)
    page = render_report(content)
    assert 'id="figure-latent-all"' in page
    assert "The cohort names no people." in page


def test_single_sample_single_layer(make):
    content = make["content"](1, 1)
    one = make["replace"](
        content,
        samples=content.samples.iloc[:1],
        layers=("mg",),
        measured=np.ones((1, 1), dtype=bool),
        split=None,
        latent=np.zeros((1, 1), dtype=np.float32),
        classification=None,
        imputation=None,
        attribution=None,
    )
    assert "1 layers in 1 combinations" in render_report(one)


def test_report_is_written_whole_or_not_at_all(make, tmp_path):
    content = make["content"](
        4, metrics=(), latent=None, classification=None, imputation=None, attribution=None
    )
    with pytest.raises(OutputError, match=r"cannot be written"):
        write_report(content, tmp_path / "absent" / "report.html")
    path = write_report(content, tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_coverage_of_intervals_stands_with_imputation(make):
    row = {"visits": False, "task": "values", "layer": EVIL_TAG, "nominal": 0.9, "coverage": 0.88}
    row |= {"lower": 0.8, "upper": 0.9, "width": 2.0}
    coverage = CoverageResult(pd.DataFrame([row]), Interval(0.01, 0.0, 0.02))
    content = make["content"](coverage=coverage)
    found = Elements(render_report(content))
    assert "Do intervals hold what they promise?" in found.text
    assert EVIL_TAG in found.text
    assert not found.tags.keys() & {"script"}
    untested = make["content"](absent={"coverage": "Nobody was held out."})
    assert "Intervals: Nobody was held out." in Elements(render_report(untested)).text
