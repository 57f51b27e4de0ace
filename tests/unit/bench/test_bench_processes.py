"""Training by several processes, measured from outside."""

import json

import pytest

from immo_hpc.bench.processes import bench_processes
from immo_hpc.bench.processes_render import render_folder
from immo_hpc.bench.submitted import submitted_start
from immo_hpc.bench.trainings import finish, training
from immo_hpc.config import ImmoConfig
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.errors import TrainingError, UsageError
from immo_hpc.train import RunFolder
from immo_hpc.workflow.bench import bench_processes as asked
from immo_hpc.workflow.prepare import prepare_cohort


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "shards"
    cohort = simulate_cohort(SimulationConfig(num_subjects=20)).cohort
    prepare_cohort(cohort, folder, ImmoConfig(), source="test")
    return folder


def test_everything_is_measured_and_written(shards, tmp_path):
    found = bench_processes(
        shards,
        [1],
        epochs=2,
        batch_size=16,
        profiles=["local"],
        folder=tmp_path,
        kill_after_s=0.5,
        checkpoint_min=0.002,
        out=tmp_path / "found.json",
    )
    (rate,) = found.rates
    assert rate.samples_per_s == rate.ideal > 0
    assert found.samples > 16
    assert 0 < rate.waiting < 1
    assert min(rate.start_up_s, found.resume_s, found.checkpoint_s, found.restore_s) > 0
    assert 0 <= found.lost_s <= 0.5
    assert json.loads((tmp_path / "found.json").read_text())["rates"][0]["processes"] == 1
    assert "samples/s" in found.text()
    (start,) = found.submitted
    assert start.profile == "local"
    assert 0 < start.submit_s < start.first_step_s
    assert "submitted with profile local: " in found.text()
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]

    (tmp_path / "found.json").rename(tmp_path / "processes-here.json")
    render_folder(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert f"| 1 | {rate.samples_per_s:.0f} | {rate.ideal:.0f} | 100% |" in page


def test_a_job_that_fails_says_why(shards, tmp_path):
    with pytest.raises(TrainingError, match=r"failed: error: profile 'moon': no such file"):
        submitted_start(shards, tmp_path, "moon", [])
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_fails_says_why(shards, tmp_path):
    keys = ["train.device=cuda:77"]
    with (
        pytest.raises(TrainingError, match=r"failed: error: train.device: 'cuda:77' is not there"),
        training(shards, RunFolder(tmp_path / "run"), keys=keys) as watched,
    ):
        finish(watched)


@pytest.mark.parametrize("processes", ["", "1,,2", "0", "two"])
def test_numbers_of_processes_are_numbers(processes):
    with pytest.raises(UsageError, match="expected numbers above 0, such as 1,2,4"):
        asked(None, processes=processes, epochs=1, quick=True)
