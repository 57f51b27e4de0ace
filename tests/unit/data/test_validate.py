"""The summary of a cohort: counts, overlaps, patterns, and what looks wrong."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.cohort import Roles
from immo_hpc.data.frames import cohort_from_frames
from immo_hpc.data.kinds import guess_kind, guess_scale
from immo_hpc.data.overlaps import pattern_test
from immo_hpc.data.read import read_cohort
from immo_hpc.data.render import render_summary
from immo_hpc.data.validate import inspect_cohort, validate_cohort

ROLES = Roles(label="label", positive="1", subject="who")


def make(held, labels, owners=None, roles=ROLES, num_features=3):
    """A cohort whose layers are measured in the samples at the given places."""
    ids = [f"s{number}" for number in range(len(labels))]
    rng = np.random.default_rng(1)
    tables = {
        name: pd.DataFrame(
            rng.normal(size=(len(places), num_features)), index=[ids[place] for place in places]
        )
        for name, places in held.items()
    }
    owners = ids if owners is None else owners
    samples = pd.DataFrame({"label": labels, "who": owners}, index=ids)
    kinds = dict.fromkeys(held, "continuous")
    return cohort_from_frames(tables, samples, kinds=kinds, roles=roles, unmeasured="drop")


@pytest.mark.cohorts
def test_the_eight_subsets_of_ibdmdb(cohorts_dir):
    summary = inspect_cohort(cohorts_dir / "ibdmdb")
    counted = {
        item.name: (item.samples, item.labels["0"], item.labels["1"]) for item in summary.overlaps
    }
    assert counted == {
        "mg & mt & mb": (326, 88, 238),
        "mg & mt": (796, 195, 601),
        "mg & mb": (470, 123, 347),
        "mt & mb": (327, 89, 238),
        "mg | mt": (1588, 414, 1174),
        "mg | mb": (1661, 424, 1237),
        "mt | mb": (1018, 243, 775),
        "mg | mt | mb": (1663, 425, 1238),
    }
    assert [pattern.samples for pattern in summary.patterns] == [645, 470, 326, 144, 75, 2, 1]
    assert summary.subjects.subjects == 130
    assert summary.subjects.single_label_rate == 1
    assert (summary.subjects.visits_min, summary.subjects.visits_max) == (1, 24)
    assert [layer.scale for layer in summary.layers] == ["percent", "fraction", "raw intensity"]
    assert not summary.has_errors
    assert any("would leak" in finding.text for finding in summary.findings)
    text = render_summary(summary)
    assert "mg & mt & mb      326   88   238" in text


@pytest.mark.cohorts
@pytest.mark.parametrize("name", ["ibdmdb", "ipop", "citeseq_pbmc"])
def test_text_of_real_cohorts_fits_the_width(cohorts_dir, name):
    text = render_summary(validate_cohort(read_cohort(cohorts_dir / name)))
    assert max(map(len, text.splitlines())) <= 100


@settings(max_examples=30, deadline=None)
@given(
    data=st.lists(st.tuples(st.integers(1, 7), st.sampled_from(["0", "1", None])), min_size=1),
)
def test_overlaps_and_patterns_agree_with_a_count_by_hand(data):
    names = ["a", "b", "c"]
    held = {
        name: [place for place, (bits, _) in enumerate(data) if bits >> number & 1]
        for number, name in enumerate(names)
    }
    held = {name: places for name, places in held.items() if places}
    cohort = make(held, [label for _, label in data], roles=Roles(label="label"))
    summary = validate_cohort(cohort)
    for item in summary.overlaps:
        together = set.intersection if item.mode == "all" else set.union
        places = together(*(set(held[name]) for name in item.layers))
        assert item.samples == len(places)
        for label in summary.classes:
            assert item.labels[label] == sum(data[place][1] == label for place in places)
    assert sum(pattern.samples for pattern in summary.patterns) == len(data)
    assert summary.unlabelled == sum(label is None for _, label in data)
    json.dumps(summary.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("layers", "expected"), [(1, 0), (2, 2), (4, 22), (5, 42), (6, 32)])
def test_number_of_sets(layers, expected):
    cohort = make({f"l{number}": [0, 1] for number in range(layers)}, ["0", "1"])
    assert len(validate_cohort(cohort).overlaps) == expected


def test_numbers_of_a_layer():
    table = pd.DataFrame({"a": [0.0, 0.0, np.nan], "b": [2.0, 5.5, 0.0], "c": [7.0, 7.0, 7.0]})
    summary = validate_cohort(cohort_from_frames({"mg": table}, kinds={"mg": "intensity"}))
    layer = summary.layers[0]
    assert (layer.samples, layer.features, layer.constant_features) == (3, 3, 2)
    assert layer.missing_rate == pytest.approx(1 / 9)
    assert layer.zero_rate == pytest.approx(3 / 8)
    assert (layer.minimum, layer.maximum) == (0, 7)


def found(cohort, severity):
    summary = validate_cohort(cohort)
    return " ".join(f.text for f in summary.findings if f.severity == severity)


def test_label_that_cannot_be_learnt_is_an_error():
    assert "one class only ('1'" in found(make({"a": [0, 1, 2]}, ["1", "1", None]), "error")
    assert "one subject only ('p')" in found(make({"a": [0, 1]}, ["0", "1"], ["p", "p"]), "error")
    assert "none of the 2 samples" in found(make({"a": [0, 1]}, [None, None]), "error")
    wrong = replace(ROLES, positive="IBD")
    assert "'IBD', but the classes are 0, 1" in found(
        make({"a": [0, 1]}, ["0", "1"], roles=wrong), "error"
    )
    assert found(make({"a": [0, 1]}, ["0", "1"]), "error") == ""


def test_small_classes_and_unlabelled_samples_are_said():
    labels = ["0"] * 8 + ["1"] * 8 + [None]
    cohort = make({"a": range(17)}, labels, [*range(8), *[90, 91] * 4, 99])
    assert "Class '1' has only 2 subjects" in found(cohort, "warning")
    assert "Class '0'" not in found(cohort, "warning")
    assert "1 of 17 samples carry no label" in found(cohort, "note")


def test_subjects_that_carry_one_label_are_a_warning():
    owners = [f"p{number // 3}" for number in range(30)]
    labels = [str(number // 3 % 2) for number in range(30)]
    cohort = make({"a": range(30)}, labels, owners)
    assert "a split by sample would leak" in found(cohort, "warning")
    summary = validate_cohort(cohort).subjects
    assert (summary.subjects, summary.visits_median, summary.single_label_rate) == (10, 3, 1)
    mixed = make({"a": range(30)}, [str(number % 3 % 2) for number in range(30)], owners)
    assert validate_cohort(mixed).subjects.single_label_rate == 0
    assert "would leak" not in found(mixed, "warning")


def test_column_that_looks_like_a_subject_is_pointed_at():
    table = pd.DataFrame(np.eye(3), index=["s1", "s2", "s3"])
    samples = pd.DataFrame({"PatientID": ["p", "p", "q"]}, index=table.index)
    assert "name the column with --subject (perhaps 'PatientID')" in found(
        cohort_from_frames({"a": table}, samples), "warning"
    )


def test_times_are_summed_up_and_pointed_at():
    table = pd.DataFrame(np.eye(5), index=[f"s{number}" for number in range(5)])
    samples = pd.DataFrame(
        {
            "who": ["p", "p", "p", "q", "q"],
            "birthday": ["1950-01-01"] * 3 + ["1960-01-01"] * 2,  # One for each person.
            "daytime": ["noon", "noon", "night", "noon", "night"],  # No times.
            "visit_week": [1, 3, 9, 5, None],
        },
        index=table.index,
    )
    cohort = cohort_from_frames({"a": table}, samples, roles=Roles(subject="who"))
    assert "Column 'visit_week' may say when samples were taken" in found(cohort, "note")
    assert validate_cohort(cohort).times is None
    timed = replace(cohort, roles=Roles(subject="who", time="visit_week", time_unit="weeks"))
    assert "may say when" not in found(timed, "note")
    summary = validate_cohort(timed)
    times = summary.times
    assert (times.unknown, times.days_between, times.days_longest) == (1, 28, 56)
    said = "visit_week: 28 days from one sample to the next (median), 56 at most from first to last"
    assert f"{said}; unknown for" in " ".join(render_summary(summary).split())
    alone = replace(timed, roles=Roles(time="visit_week"))
    assert validate_cohort(alone).times.days_between is None


def test_pattern_that_tells_the_label_is_a_warning():
    labels = [str(number % 2) for number in range(60)]
    held = {"a": range(60), "b": [number for number in range(60) if number % 2]}
    cohort = make(held, labels)
    test = pattern_test(cohort)
    assert test.cramers_v == pytest.approx(1)
    assert (test.p_value, test.method) == (0.001, "subjects permuted")
    assert "tells something about its label" in found(cohort, "warning")


def test_visits_of_one_person_do_not_make_a_pattern_significant():
    # Two people, thirty visits each: as a chi-square test would see it, overwhelming.
    labels = ["0"] * 30 + ["1"] * 30
    owners = ["p"] * 30 + ["q"] * 30
    cohort = make({"a": range(60), "b": range(30)}, labels, owners)
    assert pattern_test(cohort).p_value == 1
    assert "tells something" not in found(cohort, "warning")


def test_visits_with_changing_labels_are_tested_by_chi_square():
    labels = ["0", "1"] * 30
    cohort = make({"a": range(60), "b": range(30)}, labels, ["p"] * 30 + ["q"] * 30)
    test = pattern_test(cohort)
    assert test.method == "chi-square"
    assert test.p_value == pytest.approx(1)
    assert pattern_test(make({"a": [0, 1]}, ["0", "1"])) is None


def test_copied_profiles_are_a_warning():
    cohort = make({"a": range(6)}, list("010101"), num_features=8)
    values = cohort.layers["a"].values.copy()
    values[4], values[1, 0], values[4, 0] = values[1], np.nan, np.nan
    copied = replace(cohort, layers={"a": replace(cohort.layers["a"], values=values)})
    assert "2 samples share their whole profile with another one ('s1 = s4')" in found(
        copied, "warning"
    )
    assert "profile" not in found(cohort, "warning")


@pytest.mark.parametrize(
    ("kind", "values", "match"),
    [
        ("composition", [[1, 3], [2, 3]], "should sum to 1 or 100, but sum to 4 to 5"),
        ("counts", [[0.5, 300], [2, 400]], "should be whole numbers"),
        ("intensity", [[12.5, 20], [11, 19]], "as if they were logged already"),
        ("continuous", [[0, 1300], [12, 400]], "look like kind 'counts'"),
        ("composition", [[0, 0], [0.5, 0.5]], "hold nothing but zeros ('s0')"),
    ],
)
def test_scales_that_do_not_fit_the_kind(kind, values, match):
    table = pd.DataFrame(values, index=["s0", "s1"], dtype=float)
    assert match in found(cohort_from_frames({"a": table}, kinds={"a": kind}), "warning")


@pytest.mark.parametrize(
    ("kind", "scale", "values"),
    [
        ("binary", "0/1", [[0, 1], [1, np.nan]]),
        ("composition", "fraction", [[0.2, 0.8], [0.5, 0.45]]),
        ("composition", "percent", [[20, 80], [50, 45]]),
        ("counts", "raw counts", [[0, 300], [1, 512]]),
        ("intensity", "raw intensity", [[10, 3e5], [2e3, 20], [70, 4e2]]),
        ("continuous", "log-like", [[-3.5, 8], [2, 11]]),
        ("continuous", "own units", [[5.5, 120], [5.1, 150]]),
        ("continuous", "0 to 1", [[0.5, 0.9], [0.1, 0.2]]),
    ],
)
def test_guesses(kind, scale, values):
    array = np.array(values, dtype=np.float32)
    assert (guess_kind(array), guess_scale(array)) == (kind, scale)


def test_text_is_readable_with_many_layers_and_classes_of_long_names():
    held = {f"a layer with a rather long name {number}": [0, 1, number + 2] for number in range(8)}
    labels = [f"a class with a very long name indeed, number {number}" for number in range(10)]
    text = render_summary(validate_cohort(make(held, labels, roles=Roles(label="label"))))
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r" \d+ more\n", text)
    assert "measured layers" in text
