"""Coverage is counted, not believed; and the page says it in words."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from immo_hpc.analysis.coverage import CoverageResult, measure_coverage
from immo_hpc.analysis.report.coverage import coverage_notes, coverage_table
from immo_hpc.analysis.results import Interval
from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.errors import CohortError
from immo_hpc.inference.calibration.intervals import LEVELS, Spread


@dataclass(frozen=True)
class Fixed:
    """A calibration that says the same of everything: from -1 to 1, and every sixth is far."""

    def offsets(self, layer, level, mode="plain"):
        width = {"a": 4, "b": 2}[layer]
        ends = np.ones((len(LEVELS), width), dtype=np.float32)
        spread = Spread(-ends, ends, 3, 9)
        return dict.fromkeys(("values", "layers", "revisited"), spread.at(level))


@dataclass(frozen=True)
class KnowsNothing:
    preparation: Preparation

    def reconstruct(self, cohort, layers=None):
        names = layers or ["a", "b"]
        widths = {"a": 4, "b": 2}
        return {name: np.zeros((len(cohort.samples), widths[name]), "f4") for name in names}

    def require_calibration(self):
        return Fixed()

    def distances(self, cohort):
        return pd.DataFrame({"is_far": np.arange(len(cohort.samples)) % 6 == 0})


def prepared(num_samples=60):
    rng = np.random.default_rng(0)
    ids = pd.Index([f"s{number}" for number in range(num_samples)], name="sample_id")
    layers = {
        name: Layer(
            name,
            "continuous",
            tuple(f"{name}{column}" for column in range(width)),
            rng.normal(size=(num_samples, width)).astype(np.float32),
            np.arange(num_samples),
        )
        for name, width in {"a": 4, "b": 2}.items()
    }
    samples = pd.DataFrame({"who": [f"p{number // 2}" for number in range(num_samples)]}, index=ids)
    cohort = Cohort(samples, layers, Roles(subject="who"))
    split = np.where(np.arange(num_samples) < 30, "train", "test")
    preparation = fit_preparation(cohort, np.arange(30), PreparationConfig())
    return KnowsNothing(preparation), preparation.apply(cohort, split=split)


def test_values_within_their_ends_are_counted():
    model, cohort = prepared()
    result = measure_coverage(model, cohort, seed=0)
    test = cohort.take(cohort.indices("test"))
    for name, width in {"a": 4, "b": 2}.items():
        inside = np.abs(test.layers[name].values) <= 1
        rows = result.intervals.query("not visits and task == 'layers' and layer == @name")
        assert rows["nominal"].tolist() == [0.8, 0.9, 0.95]
        assert rows["coverage"].to_numpy() == pytest.approx(inside.mean())
        people = inside.reshape(15, 2 * width).mean(axis=1)
        assert rows["by_subject"].to_numpy() == pytest.approx(people.mean())
        assert set(rows["num_values"]) == {30 * width}
        assert set(rows["num_subjects"]) == {15}
        assert rows["width"].tolist() == [2.0, 2.0, 2.0]
    assert result.far.value == pytest.approx(5 / 30)
    assert result.far.lower < result.far.value < result.far.upper
    assert result.to_dict()["far"]["value"] == pytest.approx(5 / 30)


def test_with_other_visits_only_those_count_who_have_some():
    model, cohort = prepared()
    alone = cohort.samples.index[-1]
    cohort.samples.loc[alone, cohort.roles.subject] = "once"
    found = measure_coverage(model, cohort, seed=0).intervals
    counts = found[found["nominal"] == 0.8].set_index(["visits", "task", "layer"])["num_values"]
    for task in ("layers", "revisited"):
        # The last two samples came once each: the one renamed, and whom it left.
        assert counts[True, task, "a"] == 28 * 4
    assert counts[False, "layers", "a"] == 30 * 4
    assert (False, "revisited", "a") not in counts.index


def test_without_test_people_it_is_said():
    model, cohort = prepared()
    with pytest.raises(CohortError, match=r"no test sample.*split\.test_fraction"):
        measure_coverage(model, cohort.take(cohort.indices("train")), seed=0)


def test_the_page_has_measured_beside_promised():
    row = {
        "visits": False,
        "task": "layers",
        "layer": "mb",
        "lower": 0.85,
        "upper": 0.93,
        "width": 3.14,
    }
    other = {**row, "visits": True, "task": "revisited"}
    table = pd.DataFrame(
        [
            {**kind, "nominal": nominal, "coverage": nominal + 0.01}
            for kind in (row, other)
            for nominal in (0.8, 0.9)
        ]
    )
    result = CoverageResult(table, Interval(0.012, 0.004, 0.03))
    shown = coverage_table(result, "people")
    assert shown.head == ("hidden", "layer", "promised 80%", "promised 90%")
    assert shown.rows == (
        ("whole layer", "mb", "81% [85%, 93%], width 3.14", "91% [85%, 93%], width 3.14"),
        (
            "whole layer that another visit has (other visits used)",
            "mb",
            "81% [85%, 93%], width 3.14",
            "91% [85%, 93%], width 3.14",
        ),
    )
    assert "not about one person" in shown.note
    (sentence,) = coverage_notes(result, "people")
    assert "1.2% (0.4% to 3.0%)" in sentence
    assert "1% is meant" in sentence
