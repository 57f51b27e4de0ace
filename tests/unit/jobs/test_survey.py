"""How a task stands: its files first, then what the executor says."""

import os
import time

import pytest

from immo_jobs.folder import Submission
from immo_jobs.render import status_text, status_values
from immo_jobs.state import TaskState, write_state
from immo_jobs.survey import survey


@pytest.fixture
def stands(new_job, slurm):
    """The row of a task with this state, heartbeat and Slurm."""

    def look(state=None, beat_s=None, queue="", accounts="", is_submitted=True):
        job = new_job("pass", executor="slurm")
        if is_submitted:
            job.add_submission(Submission("slurm", "h", {"7": ["t0"]}))
        folder = job.task_folder("t0")
        if state is not None:
            write_state(folder, state)
        if beat_s is not None:
            folder.heartbeat.touch()
            os.utime(folder.heartbeat, (time.time() - beat_s,) * 2)
        slurm("squeue", f"echo '{queue}'")
        slurm("sacct", f"echo '{accounts}'")
        return survey(job)[0]

    return look


RUNNING = TaskState("running", attempts=1)
ASKED = TaskState("running", "asked to stop on SIGTERM", attempts=1)


@pytest.mark.parametrize(
    ("case", "state", "reason", "is_live"),
    [
        ({"queue": "7|PENDING|Priority"}, "queued", "(waits: Priority)", True),
        ({"queue": "7|PENDING|None"}, "queued", "", True),
        ({"queue": "7|RUNNING|None"}, "queued", "", True),
        ({"state": RUNNING, "beat_s": 5}, "running", "", True),
        ({"state": RUNNING, "beat_s": 900, "queue": "7|RUNNING|None"}, "running", "", True),
        (
            {"state": RUNNING, "beat_s": 900, "accounts": "7|NODE_FAIL"},
            "interrupted",
            "its node was lost (NODE_FAIL)",
            False,
        ),
        (
            {"state": RUNNING, "beat_s": 900, "accounts": "7|CANCELLED by 1000"},
            "interrupted",
            "cancelled (CANCELLED by 1000)",
            False,
        ),
        (
            {"state": ASKED, "beat_s": 900, "accounts": "7|CANCELLED by 1000"},
            "interrupted",
            "cancelled; asked to stop on SIGTERM, and killed before it had written a checkpoint "
            "(CANCELLED by 1000)",
            False,
        ),
        (
            {"state": ASKED, "beat_s": 900},
            "interrupted",
            "asked to stop on SIGTERM, and killed before it had written a checkpoint "
            "(its worker is gone)",
            False,
        ),
        (
            {"state": RUNNING, "beat_s": 900, "accounts": "7|TIMEOUT"},
            "interrupted",
            "over its time limit (TIMEOUT)",
            False,
        ),
        (
            {"state": RUNNING, "beat_s": 900, "accounts": "7|FAILED"},
            "interrupted",
            "killed without a word (FAILED)",
            False,
        ),
        (
            {"state": RUNNING, "beat_s": 900, "queue": "7|PENDING|BeginTime"},
            "queued",
            "(waits: BeginTime)",
            True,
        ),
        (
            {"state": TaskState("interrupted", "stopped on SIGUSR2"), "queue": "7|PENDING|None"},
            "queued",
            "stopped on SIGUSR2",
            True,
        ),
        (
            {"state": TaskState("interrupted", "stopped on SIGTERM"), "accounts": "7|CANCELLED"},
            "interrupted",
            "stopped on SIGTERM (CANCELLED)",
            False,
        ),
        (
            {"queue": "7|PENDING|launch failed requeued held"},
            "interrupted",
            "held by Slurm (launch failed requeued held)",
            False,
        ),
        ({"queue": "7|PENDING|JobHeldUser"}, "queued", "(waits: JobHeldUser)", True),
        ({"state": TaskState("finished")}, "finished", "", False),
        ({"state": TaskState("failed", "no layer mb")}, "failed", "no layer mb", False),
        ({"state": TaskState("gave up", "3 attempts")}, "gave up", "3 attempts", False),
        (
            {"accounts": "7|FAILED"},
            "interrupted",
            "its worker is gone before it began (FAILED)",
            False,
        ),
        ({"is_submitted": False}, "interrupted", "was not submitted", False),
    ],
)
def test_states(stands, case, state, reason, is_live):
    row = stands(**case)
    assert (row.state, row.reason, row.is_live) == (state, reason, is_live)


def test_slurm_is_not_asked_where_files_tell(stands, slurm):
    stands(state=RUNNING, beat_s=1)
    assert slurm.calls() == []


def test_a_cancelled_job(new_job, slurm):
    job = new_job("pass", executor="slurm")
    job.add_submission(Submission("slurm", "h", {"7": ["t0"]}))
    job.cancelled.touch()
    (row,) = survey(job)
    assert (row.state, row.reason) == ("interrupted", "cancelled before it began")


def test_the_table(new_job):
    job = new_job("pass", "pass")
    write_state(job.task_folder("t0"), TaskState("finished", attempts=2))
    (job.path.parent / "work" / "t0" / "metrics.jsonl").write_text(
        '{"epoch": 0}\n{"epoch": 1}\n{"ep'
    )
    write_state(job.task_folder("t1"), TaskState("failed", "no layer mb", attempts=1))
    rows = survey(job)
    lines = status_text(job, rows).splitlines()
    assert lines[0].split() == ["task", "state", "attempts", "epochs", "heartbeat", "reason"]
    assert lines[1].split() == ["t0", "finished", "2", "2", "-"]
    assert lines[2].split() == ["t1", "failed", "1", "-", "-", "no", "layer", "mb"]
    assert lines[3] == "1 finished, 1 failed"
    assert lines[4].endswith(f"immo resume {job.path}")
    assert status_values(job, rows)["tasks"][0]["epochs"] == 2
