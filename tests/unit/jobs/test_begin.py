"""Requests to stop that come while a worker is still loading."""

import os
import signal
import subprocess
import sys
import time

import pytest

from immo_hpc.lines import read_lines
from immo_jobs.begin import REQUESTS, hold_back
from immo_jobs.child import StopRelay
from immo_jobs.worker import Worker

# Says that it loads, loads until a file tells it to go on, then listens.
_LOADS = """
import sys, time
from pathlib import Path
from immo_jobs.begin import hold_back
hold_back()
print("loading", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
from immo_jobs.child import StopRelay
with StopRelay() as relay:
    print(relay.name, flush=True)
"""


@pytest.fixture
def requeues(monkeypatch):
    """Lists of tasks that a worker has asked to be queued again for."""
    asked = []
    monkeypatch.setattr("immo_jobs.worker._requeue", lambda job, left, relay: asked.append(left))
    return asked


@pytest.mark.parametrize("number", REQUESTS)
def test_it_is_heard_once_the_worker_listens(number, tmp_path):
    words = [sys.executable, "-c", _LOADS, str(tmp_path / "go")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout.readline() == "loading\n"
        os.kill(worker.pid, number)
        os.kill(worker.pid, number)
        time.sleep(0.1)
        (tmp_path / "go").touch()
        assert worker.communicate(timeout=60)[0] == f"{number.name}\n"
    assert worker.returncode == 0


def test_the_task_is_queued_again_and_given_up_at_last(new_job, requeues):
    job = new_job("pass", attempts=2)
    for state in ("interrupted", "gave up"):
        hold_back()
        signal.raise_signal(signal.SIGUSR2)
        assert Worker(str(job.path), ("t0",)).run() == {"t0": state}
    assert requeues == [["t0"]]
    lines = read_lines(job.task_folder("t0").attempts)
    assert [line["attempt"] for line in lines] == [1, 2]
    assert lines[0]["reason"] == "asked to stop on SIGUSR2 before it began"


def test_of_many_tasks_none_is_forgotten(new_job, requeues):
    job = new_job("pass", "pass")
    hold_back()
    signal.raise_signal(signal.SIGUSR2)
    assert set(Worker(str(job.path), ("t0", "t1")).run().values()) == {"queued"}
    assert requeues == [["t0", "t1"]]


def test_nothing_is_held_back_afterwards():
    hold_back()
    with StopRelay() as relay:
        assert relay.name is None
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(REQUESTS)
