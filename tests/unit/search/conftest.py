"""A study without any training: its trials are measured by a formula."""

import os
import signal
import subprocess
import sys
import time

import pytest

from immo_hpc.config import ImmoConfig
from immo_hpc.search.build import build_space
from immo_hpc.search.study import Goal, Measured, Plan, StudyFolder, Worker, make_or_join

LAYERS = ("mg", "mt", "mb")
# A worker of the study in argv[1], whose trials take argv[2] seconds.
WORKER = """
import sys, time
from pathlib import Path
from immo_hpc.search.study import Measured, StudyFolder, Worker

folder, seconds = StudyFolder(Path(sys.argv[1])), float(sys.argv[2])

def evaluate(place, trial, report):
    with (place / "evaluated").open("a") as file:
        file.write("began\\n")
    time.sleep(seconds)
    with (place / "evaluated").open("a") as file:
        file.write("ended\\n")
    return Measured((abs(trial.params["model.dropout"] - 0.3),))

print("at work", flush=True)
Worker(folder, folder.read_plan(), evaluate).run()
"""


def new_plan(**changes):
    config = ImmoConfig()
    space, _ = build_space(LAYERS, config)
    values = {
        "shards": "/nowhere",
        "data": "0" * 64,
        "config": config,
        "space": space,
        "objectives": ("held-out",),
        "directions": ("minimize",),
        "sampler": "random",
    }
    return Plan(**{**values, **changes})


def distance(place, trial, report):
    """A formula in place of a training."""
    return Measured((abs(trial.params["model.dropout"] - 0.3),))


@pytest.fixture
def plan():
    return new_plan


@pytest.fixture
def study(tmp_path):
    """Make a study: (folder, plan)."""

    def make(name="study", *, goal=None, **changes):
        folder = StudyFolder(tmp_path / name)
        plan = make_or_join(folder, new_plan(**changes), goal or Goal(trials=6, top=0))
        return folder, plan

    return make


@pytest.fixture
def run_worker():
    """Run a worker in this process, with a formula unless told otherwise."""

    def run(folder, evaluate=distance, **more):
        return Worker(folder, folder.read_plan(), evaluate, **more).run()

    return run


@pytest.fixture
def processes():
    """Start workers as processes; what still runs at the end is killed."""
    started = []

    def start(folder, seconds, *, ready=True):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder.path), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        if ready:
            assert process.stdout.readline() == b"at work\n", process.stderr.read().decode()
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture
def until():
    """Wait until something is so."""

    def wait(is_so, seconds=60.0):
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, "it did not come about in time"
            time.sleep(0.02)

    return wait
