"""What becomes of methods that fail or are killed; in this process, without spawning."""

import json
from dataclasses import replace

import numpy as np
import pytest

from immo_hpc.analysis.compare.missing import Missing
from immo_hpc.analysis.compare.registry import CONTENDERS
from immo_hpc.config import ImmoConfig
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.data.write import write_cohort
from immo_hpc.errors import OutputError
from immo_hpc.workflow.comparing import child
from immo_hpc.workflow.comparing.child import memory_mb, run_method, run_methods
from immo_hpc.workflow.comparing.job import CompareJob
from immo_hpc.workflow.prepare import CohortOptions


@pytest.fixture
def job(tmp_path):
    write_cohort(simulate_cohort(SimulationConfig(num_subjects=16)).cohort, tmp_path / "cohort")
    made = CompareJob(
        tmp_path / "cohort",
        CohortOptions(),
        ImmoConfig(seed=3),
        (Missing(), Missing("mcar", 0.2, "test")),
        2,
        ("values",),
        tmp_path / "work",
    )
    made.begin(["a file"])
    return made


def test_every_split_and_pattern_is_answered_once(job):
    run_method(job, "mean")
    items = list(job.items(["mean"]))
    assert [(item["split"], item["missing"]) for item in items] == [
        (0, "none"),
        (0, "mcar:0.2:test"),
        (1, "none"),
        (1, "mcar:0.2:test"),
    ]
    assert not any("failed" in item for item in items)
    assert all(item["peak_mb"] is None or item["peak_mb"] >= 0 for item in items)
    # The mean says what the training samples have, hidden or not: R² near 0.
    for item in items:
        for answer in item["values"].values():
            assert abs(1 - sum(answer["residual"]) / sum(answer["total"])) < 0.2
    # Nothing is left to do, so nothing is started.
    assert list(run_methods(job, ["mean"], workers=1)) == []


def test_splits_have_seeds_of_their_own(job):
    assert [job.settings(split).seed for split in (0, 1)] == [3, 4]


def test_a_fit_that_fails_is_an_answer_and_is_tried_again(job, monkeypatch):
    def fail(training, config):
        message = "singular\nmatrix"
        raise np.linalg.LinAlgError(message)

    broken = {**CONTENDERS, "mean": replace(CONTENDERS["mean"], learn=fail)}
    with monkeypatch.context() as patch:
        patch.setattr(child, "CONTENDERS", broken)
        run_method(job, "mean")
    assert {item["failed"] for item in job.items(["mean"])} == {"LinAlgError: singular"}
    job.begin(["a file"])
    assert not list(job.work.glob("mean/*/*.json"))


def test_a_mistake_of_ours_is_not_hidden(job, monkeypatch):
    def wrong(training, config):
        raise AttributeError

    broken = {**CONTENDERS, "mean": replace(CONTENDERS["mean"], learn=wrong)}
    monkeypatch.setattr(child, "CONTENDERS", broken)
    with pytest.raises(AttributeError):
        run_method(job, "mean")


def test_a_killed_method_is_told(job):
    child._note_end(job, "mean", -9)
    assert {item["failed"] for item in job.items(["mean"])} == {"its process ended by signal 9"}
    job.begin(["a file"])
    assert {item["failed"] for item in job.items(["mean"])} == {"its process was ended"}


def test_other_inputs_are_refused(job):
    with pytest.raises(OutputError, match="they differ in: files"):
        job.begin(["another file"])
    other = replace(job, config=ImmoConfig(seed=4))
    with pytest.raises(OutputError, match="they differ in: configuration"):
        other.begin(["a file"])
    # More splits and patterns are no other inputs: answers of single splits stay what they are.
    replace(job, num_splits=5, missing=(Missing(),)).begin(["a file"])


def test_a_damaged_answer_is_made_again(job):
    place = job.work / job.answers("mean")[0].file
    place.parent.mkdir(parents=True)
    place.write_text('{"cut')
    job.begin(["a file"])
    assert not place.exists()
    place.write_text(json.dumps({"setting": "whole"}))
    job.begin(["a file"])
    assert place.exists()


def test_memory_is_told_in_megabytes():
    peak, now = memory_mb("VmHWM"), memory_mb("VmRSS")
    assert peak is None or 20 < now <= peak < 100_000
