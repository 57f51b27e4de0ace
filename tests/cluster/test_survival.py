"""What a cluster does to jobs, done to real ones: every model ends as if nothing had happened."""

import os
import signal

import pytest
from cluster_tools import model_hash, wait_until
from freezer import Freezer, parent_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

# Loaded by every Python of the job that finds it on its path; most of them are not meant.
_HOG = """
import os, pathlib, sys, threading, time
def hog():
    while not flag.exists():
        time.sleep(0.2)
    flag.unlink()
    eaten = bytearray(os.urandom(1 << 20)) * 3000
    os.kill(os.getpid(), 19)  # Nothing more happens until the sampling sees it.
flag = pathlib.Path(os.environ["TEST_HOG"])
if any(word.endswith("/memory") for word in sys.argv):
    threading.Thread(target=hog, daemon=True).start()
"""
_DOOM = """
import os, sys
if any(word.endswith("/doomed") for word in sys.argv):
    os.kill(os.getpid(), 9)
"""


# A worker waits where it cannot hear yet: before its first line, then while Submitit is loading.
_SLOW = """
import os, sys, time
from pathlib import Path
number = os.environ.get("SLURM_RESTART_COUNT", "0")
place = Path(os.environ["TEST_PLACE"])
def wait():
    part = place / f"part-{number}"
    part.write_text(str(os.getpid()))
    part.rename(place / f"waits-{number}")
    while not (place / f"go-{number}").exists():
        time.sleep(0.05)
class Slow:
    def find_spec(name, *_):
        if name == "submitit":
            wait()
if "immo_jobs.begin" in sys.orig_argv:
    if number == "0":
        wait()
    elif number == "1":
        sys.meta_path.insert(0, Slow)
"""


def hook(folder, text):
    """Have every Python that finds the folder on its path begin with these lines."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(folder)}


def test_eight_ways_to_end_a_job(cluster, job, shards, configs, profile, undisturbed, tmp_path):
    names = (
        *("killed", "worker-killed", "memory", "cancelled"),
        *("requeued", "preempted", "node-lost", "stalled"),
    )
    hog = tmp_path / "hog"
    environment = {**hook(tmp_path / "hook", _HOG), "TEST_HOG": str(hog)}
    folder = configs(names)
    expected = undisturbed(folder)

    def lose_node(pid):
        worker = job.worker("node-lost")
        node = cluster.node_of(worker)
        cluster.set_node(node, "down")
        wait_until(lambda: cluster.task(worker)[0] != "RUNNING", 60, f"{worker} has left {node}")
        cluster.set_node(node, "resume")

    stands = {}
    # Frozen tasks may meet the time limit again and again, so they are not given up soon.
    job.submit(shards, folder, profile(environment=environment, attempts=10))
    with Freezer(job, names) as freezer:

        def disturb(name, act, reason):
            stands[name] = freezer.disturb(name, act, reason)["state"]

        disturb("killed", lambda pid: os.kill(pid, signal.SIGKILL), "killed by SIGKILL")
        silence = "killed without a word"
        disturb("worker-killed", lambda pid: os.kill(parent_of(pid), signal.SIGKILL), silence)

        def eat(pid):
            hog.touch()
            os.kill(pid, signal.SIGCONT)

        disturb("memory", eat, silence)
        ended = "SIGTERM after a checkpoint"
        disturb("requeued", lambda pid: cluster.requeue(job.worker("requeued")), ended)
        disturb(
            "preempted",
            lambda pid: cluster.preempt(cluster.node_of(job.worker("preempted"))),
            ended,
        )
        disturb("node-lost", lose_node, "")  # What it can still say depends on the moment.
        disturb("stalled", lambda pid: None, "SIGUSR2 after a checkpoint")
        disturb("cancelled", lambda pid: cluster.cancel(job.worker("cancelled")), ended)
        row = wait_until(
            lambda: (row := job.status()["cancelled"]) and not row["is_live"] and row,
            60,
            "the cancelled task is at rest",
        )
        assert row["state"] == "interrupted"
        job.resume()
        rows = job.wait_until_over(600)

    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(names, "finished")
    assert all(row["attempts"] > 1 for row in rows.values())
    assert {name: model_hash(job.run(name)) for name in names} == expected
    assert freezer.most_at_once == dict.fromkeys(names, 1)
    # Interrupted for the moment in which it is written down, then queued or under way again.
    assert set(stands.values()) <= {"interrupted", "queued", "running"}
    # Slurm's own words: which of the two a preempted job is depends on who requeues it first.
    for name, states in (("preempted", ("PREEMPTED", "REQUEUED")), ("node-lost", ("NODE_FAIL",))):
        assert any(state in cluster.past(job.worker(name)) for state in states), name


def test_a_signal_in_the_first_moments(
    cluster, job, shards, configs, profile, undisturbed, tmp_path, monkeypatch
):
    folder = configs(["early"])
    expected = undisturbed(folder)
    # The worker has the environment of who submits it.
    for name, value in hook(tmp_path / "hook", _SLOW).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))

    job.submit(shards, folder, profile(time_min=10))
    for number in (0, 1):
        waits = tmp_path / f"waits-{number}"
        wait_until(waits.exists, 120, f"the worker has been started for the {number + 1}. time")
        os.kill(int(waits.read_text()), signal.SIGUSR2)
        (tmp_path / f"go-{number}").touch()
    rows = job.wait_until_over(300)

    assert (rows["early"]["state"], rows["early"]["attempts"]) == ("finished", 3)
    reasons = [attempt["reason"] for attempt in job.attempts("early")]
    assert reasons == [
        "the worker was killed without a word (SIGUSR2), before it began",
        "asked to stop on SIGUSR2 before it began",
        "",
    ]
    assert model_hash(job.run("early")) == expected["early"]


def test_one_task_poisons_no_other(job, shards, configs, profile, undisturbed, tmp_path):
    folder = configs(["well"])
    expected = undisturbed(folder)
    text = (folder / "well.yaml").read_text()
    (folder / "doomed.yaml").write_text(text)
    (folder / "wrong.yaml").write_text(text.replace('"epochs"', '"device": "cuda", "epochs"'))

    job.submit(
        *(shards, folder),
        profile(environment=hook(tmp_path / "hook", _DOOM), attempts=2),
    )
    rows = job.wait_until_over(300)

    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"doomed": "gave up", "well": "finished", "wrong": "failed"}
    assert rows["doomed"]["attempts"] == 2
    assert "SIGKILL" in rows["doomed"]["reason"]
    assert "train.device" in rows["wrong"]["reason"]
    assert model_hash(job.run("well")) == expected["well"]


def test_more_tasks_than_an_array_holds(cluster, job, shards, configs, profile):
    names = [f"task-{number:02}" for number in range(25)]
    job.submit(shards, configs(names), profile(array_throttle=2))

    rows = job.status()
    arrays = {row["workers"][0].partition("_")[0] for row in rows.values()}
    assert len(arrays) == 2
    assert all(row["is_live"] for row in rows.values())
    wait_until(lambda: job.run("task-00").exists(), 120, "the first task has begun")
    job.immo("cancel", job.folder)

    rows = job.wait_until_over(120)
    assert {row["state"] for row in rows.values()} <= {"interrupted", "finished"}
    assert sum(row["attempts"] == 0 for row in rows.values()) > 10
