"""One suite over every way of running workers. Slurm's commands are replaced (fake_slurm.py)."""

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from immo_hpc.lines import read_lines
from immo_jobs.folder import JobFolder
from immo_jobs.profile import Profile
from immo_jobs.submit import cancel, resume, submit
from immo_jobs.survey import survey
from immo_jobs.task import Task

HERE = Path(__file__).parent
# Submitit's local jobs outlive the process that submitted them, by design.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=["inprocess", "local", "slurm"])
def executor(request, tmp_path, monkeypatch):
    if request.param == "slurm":
        folder = tmp_path / "bin"
        folder.mkdir()
        script = f"#!{sys.executable} -S\n" + (HERE / "fake_slurm.py").read_text()
        for name in ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol"):
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return request.param


@pytest.fixture
def start(tmp_path, executor):
    """Submit tasks of these modes, each with a number of steps."""

    def go(*modes, steps=6, **profile):
        folder = tmp_path / "my runs"
        tasks = []
        for number, mode in enumerate(modes):
            out = folder / f"t{number}"
            words = (sys.executable, "-S", str(HERE / "work.py"), str(out), str(steps), mode)
            tasks.append(Task(f"t{number}", words, str(out), str(out / "checkpoints")))
        settings = Profile(**{"executor": executor, "array_throttle": 2, **profile})
        submit(tmp_path / "my runs.jobs", "train", tasks, settings, "test")
        return JobFolder(tmp_path / "my runs.jobs")

    return go


def settled(job, seconds=40.0):
    """The rows once nobody works any more; read from files only, as anybody could."""
    end = time.monotonic() + seconds
    while True:
        rows = survey(JobFolder(job.path))
        if not any(row.is_live for row in rows):
            return {row.name: row for row in rows}
        assert time.monotonic() < end, rows
        time.sleep(0.1)


def out_of(job, name):
    return Path(job.task(name).out)


def test_one_failed_task_poisons_no_other(start):
    job = start("ok", "fail", "ok")
    rows = settled(job)
    assert [row.state for row in rows.values()] == ["finished", "failed", "finished"]
    assert rows["t1"].reason == "the cohort has no layer mb"
    assert [row.attempts for row in rows.values()] == [1, 1, 1]
    assert (out_of(job, "t2") / "result").read_text() == "6"
    assert not list(job.path.parent.rglob("collision"))


def test_a_killed_command_goes_on_where_it_was(start):
    job = start("killed", "ok")
    rows = settled(job)
    assert [row.state for row in rows.values()] == ["finished", "finished"]
    assert (rows["t0"].attempts, rows["t1"].attempts) == (2, 1)
    said = job.task_folder("t0").log.read_text()
    assert "begins at 0" in said
    assert "begins at 3" in said
    first, last = read_lines(job.task_folder("t0").attempts)
    assert first["reason"] == "killed by SIGKILL (out of memory, or by hand)"
    assert (first["code"], last["code"]) == (-9, 0)


def test_a_hopeless_task_is_given_up(start):
    job = start("hopeless", "ok", attempts=2)
    rows = settled(job)
    assert (rows["t0"].state, rows["t1"].state) == ("gave up", "finished")
    assert rows["t0"].reason.startswith("2 attempts in a row without progress; the last: killed by")
    assert rows["t0"].attempts == 2


def test_a_killed_worker_is_replaced(start, executor):
    if executor == "inprocess":
        pytest.skip("its worker is this process")
    job = start("orphaned", "ok", steps=8)
    rows = settled(job)
    if executor == "local" and rows["t0"].state != "finished":
        # The other process had done its part already; nobody is left to take this one up.
        assert "killed without a word" in rows["t0"].reason or rows["t0"].state == "interrupted"
        assert resume(job).names == ("t0",)
        rows = settled(job)
    assert [row.state for row in rows.values()] == ["finished", "finished"]
    assert rows["t0"].attempts == 2
    # Its command was told to stop when the worker was gone.
    assert job.task_folder("t0").log.read_text().count("begins at") == 2


@pytest.mark.parametrize(("mode", "name"), [("timed", "SIGUSR2"), ("preempted", "SIGTERM")])
def test_on_a_request_it_stops_once_and_is_queued_again(start, executor, mode, name):
    job = start(mode, steps=6)
    rows = settled(job)
    is_requeued = executor == "slurm" or (executor, mode) == ("local", "timed")
    if not is_requeued:
        assert rows["t0"].state == "interrupted"
        resume(job)
        rows = settled(job)
    assert (rows["t0"].state, rows["t0"].attempts) == ("finished", 2)
    first, last = read_lines(job.task_folder("t0").attempts)
    assert first["reason"] == f"stopped on {name} after a checkpoint"
    assert (first["code"], last["from"]) == (3, "epoch-000003-step-00000000")
    # One requeue: Submitit's checkpoint was asked for once.
    said = "".join(path.read_text() for path in job.submitit.glob("*_log.out"))
    assert said.count("Calling checkpoint method") == int(is_requeued)


def test_cancelled_and_resumed_nothing_is_lost(start, executor, tmp_path):
    path = tmp_path / "my runs" / "t0" / "checkpoints" / "epoch-000002-step-00000000.safetensors"

    def stop():
        while not path.exists():
            time.sleep(0.02)
        cancel(JobFolder(tmp_path / "my runs.jobs"))

    stopper = threading.Thread(target=stop)
    stopper.start()
    job = start("ok", "ok", "ok", steps=60, array_throttle=1 if executor == "local" else 3)
    stopper.join()
    rows = settled(job)
    assert {row.state for row in rows.values()} == {"interrupted"}
    assert rows["t0"].reason.startswith(("was cancelled after", "stopped on SIGTERM after"))
    assert set(resume(job).names) == {"t0", "t1", "t2"}
    rows = settled(job)
    assert {row.state for row in rows.values()} == {"finished"}
    assert rows["t0"].attempts == 2
    assert not list(job.path.parent.rglob("collision"))


def test_a_job_submitted_twice_runs_once(start):
    job = start("ok", "ok", steps=10)
    resume(job)
    shutil.rmtree(job.path / "workers")
    (job.path / "workers").mkdir()
    rows = settled(job)
    assert {row.state for row in rows.values()} == {"finished"}
    assert {row.attempts for row in rows.values()} == {1}
    assert not list(job.path.parent.rglob("collision"))
