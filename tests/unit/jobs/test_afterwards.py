"""The batch script's last line, after a worker that was killed with its whole step."""

import pytest

from immo_hpc.lease import hold
from immo_jobs.afterwards import queue_again
from immo_jobs.folder import Submission
from immo_jobs.state import TaskState, read_state, write_state


@pytest.fixture
def job(new_job, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    job = new_job("pass", executor="slurm", attempts=2)
    job.worker("7_3").write_text('["t0"]')
    return job


def left(job, **state):
    write_state(job.task_folder("t0"), TaskState(**{"worker": "7_3", "attempts": 1, **state}))


def test_a_silent_death_is_queued_again(job, slurm):
    left(job, state="running")
    assert queue_again(job, 137) == ["t0"]
    state = read_state(job.task_folder("t0"))
    assert state.state == "interrupted"
    assert (
        state.reason == "the worker was killed without a word (SIGKILL: out of memory, or by hand)"
    )
    assert slurm.calls() == ["scontrol requeue 7_3"]


def test_not_for_ever(job, slurm):
    left(job, state="running", fruitless=1)
    assert queue_again(job, 137) == []
    state = read_state(job.task_folder("t0"))
    assert state.state == "gave up"
    assert state.reason.startswith("2 attempts in a row without progress; the last: the worker was")
    assert slurm.calls() == []


@pytest.mark.parametrize(
    "state",
    [
        {"state": "finished"},
        {"state": "failed"},
        {"state": "interrupted"},
        {"state": "running", "worker": "8_0"},
    ],
)
def test_what_was_said_or_is_anothers_is_left_alone(job, slurm, state):
    left(job, **state)
    before = read_state(job.task_folder("t0"))
    assert queue_again(job, 1) == []
    assert read_state(job.task_folder("t0")) == before
    assert slurm.calls() == []


def test_a_task_that_somebody_works_at_is_left_alone(job, slurm):
    left(job, state="running")
    with hold(job.task_folder("t0").lease):
        assert queue_again(job, 137) == []
    assert read_state(job.task_folder("t0")).state == "running"


def test_a_cancelled_job_is_not_queued_again(job, slurm):
    left(job, state="running")
    job.cancelled.touch()
    queue_again(job, 137)
    assert slurm.calls() == []


def test_a_worker_of_no_task_left_nothing(job, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert queue_again(job, 140) == []
    assert slurm.calls() == []


@pytest.mark.parametrize("has_said", [True, False])
def test_a_worker_ended_by_a_signal_before_it_began_is_queued_again(job, slurm, has_said):
    slurm("squeue", "echo '7_3|RUNNING|None'")
    if not has_said:
        job.worker("7_3").unlink()
        job.add_submission(Submission("slurm", "h", {"7_3": ["t0"]}))
    assert queue_again(job, 140) == ["t0"]
    state = read_state(job.task_folder("t0"))
    assert (state.state, state.attempts, state.fruitless) == ("interrupted", 1, 1)
    assert state.reason == "the worker was killed without a word (SIGUSR2), before it began"
    assert slurm.calls()[-1] == "scontrol requeue 7_3"
    assert queue_again(job, 140) == []
    assert read_state(job.task_folder("t0")).state == "gave up"


@pytest.mark.parametrize(
    ("code", "queue"), [(140, "7_3|PENDING|BeginTime"), (140, ""), (255, "7_3|RUNNING|None")]
)
def test_what_the_worker_or_slurm_has_seen_to_is_not_queued_twice(job, slurm, code, queue):
    left(job, state="interrupted")
    slurm("squeue", f"echo '{queue}'")
    assert queue_again(job, code) == []
    assert read_state(job.task_folder("t0")).attempts == 1
    assert "scontrol requeue 7_3" not in slurm.calls()
