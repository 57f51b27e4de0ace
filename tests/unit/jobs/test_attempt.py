"""One attempt: what an exit code means, and when a task is given up."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.files import write_text
from immo_hpc.lines import read_lines
from immo_jobs.attempt import attempt, close, close_silent, verdict
from immo_jobs.child import StopRelay
from immo_jobs.profile import Profile
from immo_jobs.state import (
    FAILED,
    FINISHED,
    GAVE_UP,
    INTERRUPTED,
    RUNNING,
    TaskFolder,
    TaskState,
    read_state,
    write_state,
)
from immo_jobs.task import Task

CHECKPOINT = "import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'checkpoints' / {!r}).touch();"


@pytest.mark.parametrize(
    ("code", "stopped", "said", "state", "reason"),
    [
        (0, None, "done", FINISHED, ""),
        (0, "SIGUSR2", "done", FINISHED, ""),
        (3, "SIGTERM", "", INTERRUPTED, "stopped on SIGTERM after a checkpoint"),
        (3, "cancel", "", INTERRUPTED, "was cancelled after a checkpoint"),
        (3, None, "stopped on SIGINT", INTERRUPTED, "stopped on SIGINT"),
        (-12, "SIGUSR2", "", INTERRUPTED, "stopped on SIGUSR2, before a checkpoint of its own"),
        (140, "SIGUSR2", "", INTERRUPTED, "stopped on SIGUSR2, before a checkpoint of its own"),
        (-9, None, "", INTERRUPTED, "killed by SIGKILL (out of memory, or by hand)"),
        (139, None, "", INTERRUPTED, "killed by SIGSEGV"),
        (1, None, "the shards are damaged", FAILED, "the shards are damaged"),
        (1, "SIGTERM", "disk full", FAILED, "disk full"),
        (2, None, "", FAILED, "ended with exit code 2"),
        (255, None, "FATAL: no image", FAILED, "FATAL: no image"),
    ],
)
def test_exit_codes(code, stopped, said, state, reason):
    assert verdict(code, stopped, said, in_container=False) == (state, reason)


def test_a_container_that_does_not_start_may_start_elsewhere():
    state, reason = verdict(255, None, "FATAL: no loop device", in_container=True)
    assert (state, reason) == (
        INTERRUPTED,
        "the container could not be started: FATAL: no loop device",
    )


def test_a_finished_attempt_is_written_down(new_job):
    job = new_job(CHECKPOINT.format("epoch-000001-step-00000000.safetensors") + "print('hello')")
    ended = attempt(job, job.task("t0"), "me", StopRelay())
    folder = job.task_folder("t0")
    assert ended == read_state(folder)
    assert (ended.state, ended.attempts, ended.fruitless) == (FINISHED, 1, 0)
    (line,) = read_lines(folder.attempts)
    assert (line["from"], line["to"]) == ("", "epoch-000001-step-00000000")
    said = folder.log.read_text().splitlines()
    assert said[0].startswith("--- attempt 1 on ")
    assert said[1] == "hello"


def test_the_reason_of_a_failure_is_what_it_said_in_this_attempt(new_job):
    job = new_job(
        "import sys; print('error: the cohort has no layer mb'); print('bye'); sys.exit(1)"
    )
    folder = job.task_folder("t0")
    folder.log.write_text("error: of an earlier attempt\n")
    ended = attempt(job, job.task("t0"), "me", StopRelay())
    assert (ended.state, ended.reason) == (FAILED, "the cohort has no layer mb")


def test_a_program_that_is_not_there_is_a_failure(new_job):
    job = new_job("pass")
    folder = job.task_folder("t0")
    write_text(folder.task, Task("t0", ("no-such-program",), "/o", "/o").to_json())
    ended = attempt(job, job.task("t0"), "me", StopRelay())
    assert ended.state == FAILED
    assert "the program 'no-such-program' is neither beside" in ended.reason


def test_an_attempt_that_nobody_closed_is_closed_by_the_next(new_job):
    job = new_job("pass")
    folder = job.task_folder("t0")
    assert close_silent(job, job.task("t0"), "lost").state == "queued"
    write_state(folder, TaskState(state=RUNNING, attempts=4, fruitless=1, mark=""))
    closed = close_silent(job, job.task("t0"), "lost")
    assert (closed.state, closed.reason, closed.fruitless) == (INTERRUPTED, "lost", 2)
    assert [line["attempt"] for line in read_lines(folder.attempts)] == [4]
    write_state(folder, TaskState(state=RUNNING, reason="asked to stop on SIGTERM"))
    assert close_silent(job, job.task("t0"), "lost").reason == "asked to stop on SIGTERM; lost"


# Deaf to the request, it ends when the request is on record.
_DEAF = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
out = pathlib.Path(sys.argv[1])
(out / "ready").touch()
state = out.parents[1] / "work.jobs" / "tasks" / "t0" / "state.json"
end = time.monotonic() + 20
while not (reason := json.loads(state.read_text())["reason"]) and time.monotonic() < end:
    time.sleep(0.02)
print("on record:", reason)
sys.exit(3)
"""


def test_a_request_is_on_record_before_it_is_met(new_job):
    job = new_job(_DEAF)
    ready = Path(job.task("t0").out) / "ready"

    def ask():
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    with StopRelay() as relay:
        ended = attempt(job, job.task("t0"), "me", relay)
    asking.join()
    assert "on record: asked to stop on SIGTERM\n" in job.task_folder("t0").log.read_text()
    assert (ended.state, ended.reason) == (INTERRUPTED, "stopped on SIGTERM after a checkpoint")


@settings(max_examples=40)
@given(moved=st.lists(st.booleans(), min_size=1, max_size=12), allowed=st.integers(1, 4))
def test_given_up_exactly_after_so_many_in_a_row_without_progress(tmp_path_factory, moved, allowed):
    out = tmp_path_factory.mktemp("task")
    folder, progress = TaskFolder(out), out / "checkpoints"
    progress.mkdir()
    task = Task("t", ("x",), str(out), str(progress))
    profile = Profile(executor="local", attempts=allowed)
    state, in_row = TaskState(), 0
    for number, does_move in enumerate(moved):
        if does_move:
            (progress / f"epoch-{number:06d}-step-00000000.safetensors").touch()
        in_row = 0 if does_move else in_row + 1
        state = close(folder, task, state, INTERRUPTED, "killed", -9, profile)
        assert (state.state == GAVE_UP) == (in_row >= allowed)
        if state.state == GAVE_UP:
            assert state.reason == f"{in_row} attempts in a row without progress; the last: killed"
            return
