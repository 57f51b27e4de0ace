"""Counts and projections behind the figures, and drawings that survive any name."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.analysis.report.figures.features import feature_panels
from immo_hpc.analysis.report.figures.latent import latent_panel, main_plane
from immo_hpc.analysis.report.figures.svg import draw, legend_columns, shortened
from immo_hpc.analysis.report.figures.training import training_panels
from immo_hpc.analysis.report.patterns import find_patterns, label_codes, measured_share_by_label
from immo_hpc.data.cohort import Roles


def test_patterns_are_counted_as_a_table_would(make):
    content = make["content"]()
    patterns = find_patterns(content)
    assert patterns.samples.sum() == content.num_samples
    assert list(patterns.samples) == sorted(patterns.samples, reverse=True)
    assert patterns.classes == ("IBD", "nonIBD")
    for place, has in enumerate(patterns.has):
        rows = content.samples[(content.measured == has).all(axis=1)]
        assert patterns.samples[place] == len(rows)
        assert patterns.people[place] == rows["subject_id"].nunique()
        assert list(patterns.labels[place]) == [
            (rows["diagnosis"] == name).sum() for name in patterns.classes
        ]


def test_unknown_labels_and_people_are_not_counted(make):
    content = make["content"](10)
    samples = content.samples.copy()
    samples.loc[samples.index[:7], "diagnosis"] = None
    samples["subject_id"] = None
    blank = make["replace"](content, samples=samples)
    patterns = find_patterns(blank)
    assert patterns.labels.sum() == content.num_samples - 7
    assert patterns.people is None
    assert blank.unit == "samples"


def test_rare_labels_share_a_colour():
    labels = pd.Series([name for index, name in enumerate("abcdefgh") for _ in range(9 - index)])
    classes, codes = label_codes(labels)
    assert classes == ("a", "b", "c", "d", "e", "3 other labels")
    assert list(np.bincount(codes)) == [9, 8, 7, 6, 5, 4 + 3 + 2]


def test_share_measured_is_per_label(make):
    content = make["content"]()
    shares = measured_share_by_label(content)
    own = content.measured[(content.samples["diagnosis"] == "IBD").to_numpy(), 1]
    assert shares.loc["IBD", "mt"] == pytest.approx(own.mean())
    assert measured_share_by_label(make["content"](5, roles=Roles())).empty


def test_plane_is_that_of_a_singular_value_decomposition():
    latent = np.random.default_rng(0).normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1] + 7
    plane = main_plane(latent)
    left, singular, _ = np.linalg.svd(latent - latent.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(plane.points), np.abs(left[:, :2] * singular[:2]), atol=1e-9)
    shares = singular**2 / np.square(singular).sum()
    np.testing.assert_allclose(plane.shares, shares[:2])


def test_plane_does_not_mind_a_latent_that_is_flat():
    assert main_plane(np.ones((4, 3))).shares == (0.0, 0.0)
    plane = main_plane(np.array([[1.0], [2.0], [4.0]]))
    assert plane.shares == (1.0, 0.0)
    np.testing.assert_array_equal(plane.points[:, 1], 0.0)


def test_only_the_most_visited_people_are_coloured():
    people = pd.Series([f"p{person:02d}" for person in range(20) for _ in range(person + 1)])
    plane = main_plane(np.random.default_rng(0).normal(size=(len(people), 3)))
    panel = latent_panel("map", "Person", plane, people, noun="people")
    assert "the other 14 are grey" in panel.caption
    text = " ".join(ElementTree.fromstring(panel.svg).itertext())
    assert "p19 (20)" in text
    assert "p13" not in text
    assert f"other people ({sum(range(1, 15))})" in text


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ([], []),
        ([{}], []),
        ([{"loss": 1.0}, {"loss": 0.5}], ["training-loss"]),
        ([{"epoch": 3, "keep": {"mg": 0.7}}], ["training-keep"]),
        ([{"loss": float("nan"), "validation_values": None}], []),
    ],
)
def test_training_draws_what_was_recorded(metrics, expected):
    assert [panel.name for panel in training_panels(metrics, None)] == expected


def test_layers_with_one_schedule_share_a_curve():
    keep = {"mg": 0.7, "mt": 0.7, "mb": 0.9}
    (panel,) = training_panels([{"keep": keep, "keep_layers": 0.8}] * 2, None)
    text = " ".join(ElementTree.fromstring(panel.svg).itertext())
    assert "values of mg, mt" in text
    assert "values of mb" in text
    assert "whole layers" in text


def test_kept_epoch_is_the_best_recorded_one(make):
    assert make["content"](5).kept_epoch == 40
    assert make["content"](5, best_epoch=12).kept_epoch == 12
    assert make["content"](5, metrics=({"loss": 1.0},)).kept_epoch is None


def test_features_show_rank_and_direction(make):
    panels = feature_panels(make["attribution"]())
    assert [panel.title for panel in panels] == ["mg", "mt", "mb"]
    words = [text for text in ElementTree.fromstring(panels[0].svg).itertext() if text.strip()]
    names = [text for text in words if "s__" in text]
    assert names[0] == "▲ s__Prevotella_copri"
    assert names[1].startswith("▼ s__Faecalibacterium")


@given(st.text(max_size=60))
@settings(max_examples=25, deadline=None)
def test_any_name_makes_a_sound_drawing(name):
    def paint(figure):
        figure.text(0, 0.5, shortened(name, 30) or "-")

    svg = draw("any", name, 40, paint)
    root = ElementTree.fromstring(svg)
    texts = [element for element in root.iter() if element.tag.endswith("}text")]
    assert ["".join(text.itertext()) for text in texts] == [shortened(name, 30) or "-"]


@given(st.text(), st.integers(3, 40))
@settings(max_examples=40)
def test_shortened_names_fit(name, longest):
    text = shortened(name, longest)
    assert len(text) <= longest
    assert text.isprintable()


def test_drawings_do_not_share_ids_or_rules():
    def paint(figure):
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], "o")
        axes.bar([0], [1], hatch="//")

    one, two = draw("one", "", 80, paint), draw("two", "", 80, paint)
    assert 'id="one-' in one
    assert 'id="one-' not in two
    assert one.replace("one-", "two-").replace("\n", "").count("two-") == two.count("two-")
    assert "<style" not in one
    assert "#010203" not in one
    assert "DejaVu" not in one


def test_legend_columns_follow_the_longest_label():
    assert legend_columns(["mg", "mt", "mb"]) == 3
    assert legend_columns(["a" * 40, "b"]) == 1
