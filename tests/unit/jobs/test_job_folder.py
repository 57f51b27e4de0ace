import stat

import pytest

from immo_hpc.errors import OutputError, RunError
from immo_hpc.lines import append_line, read_lines
from immo_jobs.folder import JobFolder, Submission, create_job, find_job, make_folder
from immo_jobs.profile import Profile
from immo_jobs.state import TaskState, read_state, write_state


def test_what_is_written_is_read_back(new_job):
    job = new_job("pass", "pass", array_throttle=3)
    again = JobFolder(job.path)
    assert again.names == ("t0", "t1")
    assert again.profile == job.profile
    assert again.profile.array_throttle == 3
    assert again.task("t1").out.endswith("work/t1")
    job.add_submission(Submission("slurm", "login", {"7_0": ["t0"], "7_1": ["t1"]}))
    assert again.read_submissions() == [
        Submission("slurm", "login", {"7_0": ["t0"], "7_1": ["t1"]})
    ]


@pytest.mark.parametrize("mode", ["0700", "0750"])
def test_folders_are_for_the_user_or_the_group(new_job, mode):
    job = new_job("pass", folder_mode=mode)
    for folder in (job.path, job.submitit, job.task_folder("t0").path):
        assert stat.S_IMODE(folder.stat().st_mode) == int(mode, 8)


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    make_folder(tmp_path / "a" / "b", 0o700)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_second_job_in_the_folder_is_refused(new_job):
    job = new_job("pass")
    with pytest.raises(OutputError, match=r"found an earlier job.*immo resume"):
        create_job(job.path, "train", [job.task("t0")], Profile(executor="local"))


def test_the_job_is_found_from_the_folder_of_runs(new_job, tmp_path):
    job = new_job("pass")
    assert find_job(tmp_path / "work").path == job.path
    assert find_job(job.path).path == job.path
    with pytest.raises(RunError, match="is no job folder"):
        find_job(tmp_path / "elsewhere")


def test_damage_is_told(new_job):
    job = new_job("pass")
    with pytest.raises(RunError, match="there is no task 'x'; the tasks are t0"):
        job.task("x")
    job.task_folder("t0").state.write_text("{")
    with pytest.raises(RunError, match="not readable as the state of a task"):
        read_state(job.task_folder("t0"))
    job.description.write_text('{"format": "immo-job", "format_version": 9}')
    with pytest.raises(RunError, match="expected immo-job version 1, found immo-job version 9"):
        _ = JobFolder(job.path).names


def test_states_are_replaced_and_lines_added(new_job):
    folder = new_job("pass").task_folder("t0")
    assert read_state(folder) == TaskState()
    write_state(folder, TaskState(state="running", attempts=2))
    assert read_state(folder) == TaskState(state="running", attempts=2)
    append_line(folder.attempts, {"attempt": 1})
    with folder.attempts.open("a") as file:
        file.write('{"attempt": ')  # a worker was killed while it wrote
    assert read_lines(folder.attempts) == [{"attempt": 1}]
