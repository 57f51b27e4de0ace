"""What is asked of Slurm, and how its answers are read; Slurm's commands are replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immo_hpc.errors import SubmissionError
from immo_jobs.executor import Seen
from immo_jobs.folder import Submission
from immo_jobs.profile import Profile
from immo_jobs.slurm import SlurmWorkers, array_size, chunked, sbatch_parameters


@given(count=st.integers(1, 300), size=st.integers(1, 60))
def test_chunks_hold_every_name_once_within_the_limit(count, size):
    names = [str(number) for number in range(count)]
    chunks = chunked(names, size)
    assert [name for chunk in chunks for name in chunk] == names
    assert max(map(len, chunks)) <= size
    assert len(chunks) == -(-count // size)


def test_the_limit_of_an_array_is_asked_of_slurm(slurm):
    assert array_size(Profile(executor="slurm")) == 1001
    slurm("scontrol", "echo 'MaxArraySize            = 21'")
    assert array_size(Profile(executor="slurm")) == 21
    assert array_size(Profile(executor="slurm", max_array_size=5)) == 5


def test_no_slurm_here(commands):
    with pytest.raises(
        SubmissionError, match=r"no Slurm on this machine: sbatch, srun.*--profile local"
    ):
        SlurmWorkers().check(Profile(executor="slurm"))


def test_slurm_without_accounts_is_said(slurm, tmp_path):
    assert SlurmWorkers().check(Profile(executor="slurm")) == ()
    (tmp_path / "bin" / "sacct").unlink()
    assert "sacct is not here" in SlurmWorkers().check(Profile(executor="slurm"))[0]


def test_a_profile_in_the_words_of_sbatch(new_job, slurm):
    profile = Profile(
        executor="slurm",
        partition="gpu",
        account="lab",
        time_min=90,
        cpus=4,
        memory_gb=1.5,
        gpus=1,
        signal_lead_s=60,
        set_up=("module load apptainer",),
        sbatch={"mail_type": "END"},
    )
    job = new_job("pass")
    text = SlurmWorkers().preview(job, ["a", "b", "c"], profile)
    for line in (
        "--array=0-2%3",
        "--partition=gpu",
        "--account=lab",
        "--time=90",
        "--cpus-per-task=4",
        "--mem=1536MB",
        "--gpus-per-node=1",
        "--signal=USR2@60",
        "--mail-type=END",
        "--requeue",
        "--open-mode=append",
    ):
        assert f"#SBATCH {line}\n" in text
    assert "wckey" not in text
    assert text.index("module load apptainer") < text.index("srun --unbuffered")
    # Nothing may stand between srun and the line that reads its exit code.
    after = [line for line in text[text.index("srun --unb") :].splitlines()[1:] if line]
    assert after[0] == "# teardown"
    assert after[1].startswith("exec ")
    assert after[1].endswith(f"-m immo_jobs.afterwards {job.path} $?")


def test_arrays_are_cut_and_throttled_together(new_job, slurm):
    job = new_job(*["pass"] * 5, executor="slurm", max_array_size=2, array_throttle=6)
    SlurmWorkers().submit(job, job.names)
    assert [submission.workers for submission in job.read_submissions()] == [
        {"4711_0": ["t0"], "4711_1": ["t1"]},
        {"4712_0": ["t2"], "4712_1": ["t3"]},
        {"4713": ["t4"]},
    ]
    scripts = sorted(job.submitit.glob("*_submission.sh"))
    assert [script.name for script in scripts] == [f"471{n}_submission.sh" for n in (1, 2, 3)]
    assert "#SBATCH --array=0-1%2\n" in scripts[0].read_text()
    assert "--array" not in scripts[2].read_text()
    assert sbatch_parameters(job, job.profile, num_chunks=3)["array_parallelism"] == 2


def test_a_refusal_is_shown_as_slurm_gave_it(new_job, slurm, capfd):
    slurm(
        "sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1"
    )
    job = new_job("pass", executor="slurm")
    with pytest.raises(SubmissionError, match=r"refused the job: Batch job.*Invalid account\. Put"):
        SlurmWorkers().submit(job, job.names)
    assert job.read_submissions() == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("queue", "accounts", "seen"),
    [
        ("7_0|PENDING|Resources", "", Seen("waiting", "Resources")),
        ("7_0|RUNNING|None", "", Seen("working")),
        ("7_0|COMPLETING|None", "", Seen("working")),
        ("", "7_0|OUT_OF_MEMORY", Seen("gone", "OUT_OF_MEMORY")),
        ("", "7_0|CANCELLED by 1000", Seen("gone", "CANCELLED by 1000")),
        ("", "7_0|NODE_FAIL", Seen("gone", "NODE_FAIL")),
        ("", "7_0|PENDING", Seen("waiting")),
        ("7_1|RUNNING|None", "8|RUNNING", Seen("gone")),
    ],
)
def test_answers_of_the_queue_and_of_the_accounts(slurm, queue, accounts, seen):
    slurm("squeue", f"echo '{queue}'")
    slurm("sacct", f"echo '{accounts}'")
    assert SlurmWorkers().look([Submission("slurm", "h", {"7_0": ["a"]})]) == {"7_0": seen}


def test_a_job_that_slurm_has_forgotten_is_gone(slurm):
    slurm("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    slurm("sacct", "exit 1")
    found = SlurmWorkers().look([Submission("slurm", "h", {"7": ["a"]})])
    assert found == {"7": Seen("gone")}


def test_a_queue_that_does_not_answer_decides_nothing(slurm):
    slurm("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    slurm("sacct", "exit 1")
    found = SlurmWorkers().look([Submission("slurm", "h", {"7": ["a"]})])
    assert found == {"7": Seen("unknown")}


def test_all_jobs_are_asked_about_at_once(slurm):
    workers = {f"7_{number}": [f"t{number}"] for number in range(50)}
    SlurmWorkers().look([Submission("slurm", "h", workers), Submission("slurm", "h", {"9": ["x"]})])
    assert [call.split()[0] for call in slurm.calls()] == ["squeue", "sacct"]
    assert slurm.calls()[0].endswith("--jobs=7,9")


def test_cancel(slurm):
    SlurmWorkers().cancel(["7_0", "7_1"])
    SlurmWorkers().withdraw(["7_2"])
    assert slurm.calls() == ["scancel --quiet 7_0 7_1", "scancel --quiet --state=PENDING 7_2"]
