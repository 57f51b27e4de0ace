"""What is refused before anything is submitted: one message each, and nothing left behind."""

import errno
import json

import pytest

from immo_hpc._version import __version__, source_digest
from immo_hpc.errors import BusyError, ConfigError, OutputError, SubmissionError
from immo_hpc.lease import hold
from immo_hpc.lines import read_lines
from immo_jobs import check
from immo_jobs.folder import Submission
from immo_jobs.profile import Container, Profile
from immo_jobs.state import TaskState, read_state, write_state
from immo_jobs.submit import cancel, log_text, resume, submit
from immo_jobs.survey import survey
from immo_jobs.task import Task


def labels(version, **more):
    found = ({check.VERSION_LABEL: version} if version else {}) | more
    return json.dumps({"data": {"attributes": {"labels": found}}, "type": "container"})


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "immo.sif"
    path.touch()
    return path


def test_an_image_of_this_version(commands, image):
    commands("apptainer", f"echo '{labels(__version__)}'")
    assert check.check_image(image) == ()
    assert commands.calls() == [f"apptainer inspect --json {image}"]


@pytest.mark.parametrize(("version", "told"), [("0.0.9", "0.0.9"), (None, "of unknown version")])
def test_an_image_of_another_version(commands, image, version, told):
    commands("apptainer", f"echo '{labels(version)}'")
    with pytest.raises(SubmissionError, match=f"holds immo-hpc {told}, and this is {__version__}"):
        check.check_image(image)


def test_an_image_of_another_state_of_this_version(commands, image):
    here = {check.SOURCE_LABEL: source_digest(), check.REVISION_LABEL: "0123456789abcdef"}
    commands("apptainer", f"echo '{labels(__version__, **here)}'")
    assert check.check_image(image) == ()
    there = here | {check.SOURCE_LABEL: "0" * 64}
    commands("apptainer", f"echo '{labels(__version__, **there)}'")
    told = rf"another state of immo-hpc {__version__} \(commit 0123456789ab\)"
    with pytest.raises(SubmissionError, match=told):
        check.check_image(image)


def test_an_image_that_cannot_be_read(commands, image):
    commands("apptainer", "echo 'FATAL: not an image' >&2; exit 255")
    with pytest.raises(SubmissionError, match=r"cannot read this image \(FATAL: not an image\)"):
        check.check_image(image)


def test_an_image_that_is_not_there(commands, tmp_path):
    with pytest.raises(SubmissionError, match="the image is missing"):
        check.check_image(tmp_path / "no.sif")


def test_an_image_where_apptainer_comes_later(commands, image):
    with pytest.raises(ConfigError, match="neither apptainer nor singularity"):
        check.check_image(image)
    (notice,) = check.check_image(image, is_loaded_later=True)
    assert "its version was not checked" in notice


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EROFS, "cannot be written"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "full"),
    ],
)
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, number, told):
    def refuse(self, *args, **kwargs):
        raise OSError(number, "as the test says")

    monkeypatch.setattr(check.Path, "open", refuse)
    with pytest.raises(OutputError, match=f"{told}.*as the test says"):
        check.check_folder(tmp_path / "runs", 0o700)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_without_locks(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(check, "hold", refuse)
    with pytest.raises(OutputError, match=r"no lease can be held there .*No locks available"):
        check.check_folder(tmp_path, 0o700)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_will_do_is_left_as_it_was(tmp_path):
    check.check_folder(tmp_path, 0o700)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def hand_over(tmp_path):
    """Submit tasks that do nothing, with a profile."""

    def give(count=1, **profile):
        out = tmp_path / "work"
        tasks = [
            Task(f"t{number}", ("true",), str(out / f"t{number}"), str(out / f"t{number}"))
            for number in range(count)
        ]
        settings = Profile(**{"executor": "slurm", **profile})
        return submit(tmp_path / "work.jobs", "train", tasks, settings, "mine")

    return give


@pytest.fixture
def immo_is_there(monkeypatch):
    monkeypatch.setattr("immo_jobs.check.plain_program", lambda name: name)


def test_without_slurm_nothing_is_made(commands, hand_over, tmp_path):
    with pytest.raises(SubmissionError, match="no Slurm on this machine"):
        hand_over()
    assert not (tmp_path / "work.jobs").exists()


def test_without_a_required_key_nothing_is_asked_of_slurm(slurm, hand_over, tmp_path):
    with pytest.raises(ConfigError, match="mine: this profile requires account"):
        hand_over(require=("account",))
    assert slurm.calls() == []
    assert not (tmp_path / "work.jobs").exists()


def test_an_image_that_does_not_fit_stops_the_job(slurm, hand_over, tmp_path):
    with pytest.raises(SubmissionError, match="the image is missing"):
        hand_over(container=Container(image=tmp_path / "no.sif"))
    assert slurm.calls() == []


def test_what_sbatch_refuses_leaves_nothing(slurm, hand_over, immo_is_there, tmp_path):
    slurm("sbatch", "echo 'sbatch: error: Invalid partition' >&2; exit 1")
    with pytest.raises(SubmissionError, match="Invalid partition"):
        hand_over()
    assert not (tmp_path / "work.jobs").exists()


def test_a_refusal_halfway_keeps_what_is_under_way(slurm, hand_over, immo_is_there, tmp_path):
    slurm(
        "sbatch",
        'if [ -e "$0.once" ]; then echo "sbatch: error: Too many jobs" >&2; exit 1; fi\n'
        '>"$0.once"; echo "Submitted batch job 50"',
    )
    with pytest.raises(SubmissionError, match="Too many jobs"):
        hand_over(count=4, max_array_size=2)
    from immo_jobs.folder import JobFolder

    job = JobFolder(tmp_path / "work.jobs")
    slurm("squeue", "echo '50_0|PENDING|None'; echo '50_1|PENDING|None'")
    assert [row.state for row in survey(job)] == ["queued", "queued", "interrupted", "interrupted"]
    slurm("sbatch", 'echo "Submitted batch job 51"')
    assert resume(job).names == ("t2", "t3")


def test_resume_takes_what_is_neither_finished_nor_under_way(new_job, slurm, immo_is_there):
    job = new_job(*["pass"] * 5, executor="slurm")
    for number, state in enumerate(("finished", "failed", "gave up", "interrupted")):
        before = TaskState(state, "why", attempts=3, fruitless=3)
        write_state(job.task_folder(f"t{number}"), before)
    job.cancelled.touch()
    assert resume(job).names == ("t1", "t2", "t3", "t4")
    assert not job.cancelled.exists()
    assert read_state(job.task_folder("t2")) == TaskState("queued", attempts=3)
    assert read_state(job.task_folder("t0")).state == "finished"
    slurm("squeue", 'for n in 0 1 2 3; do echo "4711_$n|PENDING|None"; done')
    assert resume(job).names == ()


def test_resume_puts_on_record_how_the_last_attempt_ended(new_job, slurm, immo_is_there):
    job = new_job("pass", executor="slurm")
    job.add_submission(Submission("slurm", "h", {"7": ["t0"]}))
    running = TaskState("running", "asked to stop on SIGTERM", attempts=2)
    write_state(job.task_folder("t0"), running)
    slurm("sacct", "echo '7|CANCELLED by 0'")
    assert resume(job).names == ("t0",)
    (line,) = read_lines(job.task_folder("t0").attempts)
    assert line["reason"] == (
        "cancelled; asked to stop on SIGTERM, and killed before it had written a checkpoint "
        "(CANCELLED by 0)"
    )
    state = read_state(job.task_folder("t0"))
    assert (state.state, state.reason, state.attempts) == ("queued", "", 2)


def test_two_submissions_at_once_are_refused(new_job, slurm, immo_is_there, monkeypatch):
    job = new_job("pass", executor="slurm")
    real = hold
    monkeypatch.setattr("immo_jobs.submit.hold", lambda path, wait_s: real(path, wait_s=0.1))
    with hold(job.lease), pytest.raises(BusyError, match="is at work there"):
        resume(job)


def test_cancel_marks_the_job_and_stops_what_waits(new_job, slurm, immo_is_there):
    job = new_job("pass", "pass", executor="slurm")
    resume(job)
    write_state(job.task_folder("t0"), TaskState("finished"))
    slurm("squeue", "echo '4711_1|PENDING|None'")
    assert cancel(job) == ("t1",)
    assert job.cancelled.exists()
    assert slurm.calls()[-1] == "scancel --quiet --state=PENDING 4711_1"


def test_logs_are_the_commands_else_the_workers(new_job, slurm):
    job = new_job("pass", "pass", executor="slurm")
    job.task_folder("t0").log.write_text("one\ntwo\nthree\n")
    assert log_text(job, "t0", 2) == "two\nthree"
    assert "nothing has been said yet" in log_text(job, "t1")
    from immo_jobs.folder import Submission

    job.add_submission(Submission("slurm", "h", {"9_1": ["t1"]}))
    (job.submitit / "9_1_0_log.err").write_text("slurmstepd: error: no such node\n")
    assert log_text(job, "t1") == "slurmstepd: error: no such node"
