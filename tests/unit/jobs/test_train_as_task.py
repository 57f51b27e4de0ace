"""A real training as a task: killed, stopped and started again, it ends as if nothing happened."""

import contextlib
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from immo_hpc.cli._words import asked
from immo_hpc.config import PreparationConfig, SplitConfig
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import write_shards
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.data.split import split_samples
from immo_hpc.errors import BusyError
from immo_hpc.lease import hold
from immo_hpc.lines import read_lines
from immo_hpc.train import RunFolder, train_run
from immo_jobs.folder import JobFolder
from immo_jobs.plan import Array, plan
from immo_jobs.profile import Profile
from immo_jobs.submit import submit
from immo_jobs.survey import survey

WORDS = [
    "--set=train.epochs=60",
    "--set=train.patience=1000",
    "--set=train.checkpoint_epochs=10",
    "--set=train.num_threads=1",
]
IMMO = "from immo_hpc.cli import main; main()"

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    cohort = simulate_cohort(
        SimulationConfig(seed=1, num_subjects=12, visits_mean=3, num_mg=8, num_mt=6, num_mb=7)
    ).cohort
    split = split_samples(cohort.samples, cohort.roles, SplitConfig(), seed=0)
    preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), PreparationConfig())
    write_shards(replace(preparation.apply(cohort), split=split), preparation, folder)
    return folder


def newest(run):
    return max((path.name for path in run.glob("checkpoints/epoch-*")), default="")


def test_a_killed_training_ends_as_an_undisturbed_one(shards, tmp_path, forked):
    task = plan(asked("train", [str(shards), str(tmp_path / "run"), *WORDS]), Array())[0]
    run = tmp_path / "run"

    def kill_once():
        while newest(run) < "epoch-000020":
            time.sleep(0.01)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(run).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    killer = threading.Thread(target=kill_once)
    killer.start()
    submit(tmp_path / "run.jobs", "train", [task], Profile(executor="inprocess"), "test")
    killer.join()
    job = JobFolder(tmp_path / "run.jobs")
    (row,) = survey(job)
    assert (row.state, row.attempts, row.epochs) == ("finished", 2, 60)
    first, last = read_lines(job.task_folder("run").attempts)
    assert first["code"] == -signal.SIGKILL
    assert last["from"] >= "epoch-000020"

    done = forked(IMMO, "train", shards, tmp_path / "whole", *WORDS)
    _, told = done.communicate()
    assert done.returncode == 0, told
    whole = RunFolder(tmp_path / "whole").weights.read_bytes()
    assert RunFolder(run).weights.read_bytes() == whole


def test_a_training_that_is_asked_to_stop_ends_with_code_3(shards, tmp_path, forked):
    run = tmp_path / "run"
    training = forked(IMMO, "train", shards, run, *WORDS, "--set=train.epochs=100000")
    try:
        while not newest(run) and training.poll() is None:
            time.sleep(0.01)
        training.send_signal(signal.SIGUSR2)
        training.send_signal(signal.SIGUSR2)
        _, said = training.communicate()
    finally:
        training.kill()
    assert training.returncode == 3
    assert said.count("stopped on SIGUSR2") == 1
    assert not RunFolder(run).lease.exists()


def test_a_run_folder_never_has_two_trainings(shards, tmp_path):
    run = RunFolder(tmp_path / "run")
    with hold(run.lease), pytest.raises(BusyError, match=r"\.run\.lease: process .* is at work"):
        train_run(shards, run.path)
    assert not run.path.exists()
