"""The verbs of jobs, as typed."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def typed(trained, immo, tmp_path, monkeypatch):
    """Type a command in an empty folder, with the path of the small cohort's shards at hand."""
    monkeypatch.chdir(tmp_path)
    return immo


def test_dry_run_prints_script_and_commands_and_writes_nothing(typed, trained, tmp_path):
    code, out, err = typed(
        *("submit", "train", trained / "shards", "runs", "--seeds", "0-2", "--profile", "slurm"),
        *("--with", "account=lab", "--set", "train.epochs=5", "--dry-run"),
    )
    assert (code, err) == (0, "")
    assert "#SBATCH --account=lab" in out
    assert "#SBATCH --array=0-2%3" in out
    assert f"{tmp_path}/runs/seed-2 --set train.epochs=5 --seed 2 --resume --wait=300" in out
    assert list(tmp_path.iterdir()) == []


def test_from_submit_to_finished(typed, trained, tiny, tmp_path):
    profile = tmp_path / "here.yaml"
    profile.write_text("executor: inprocess\n")
    code, out, _ = typed(
        *("submit", "train", trained / "shards", "runs", "--seeds", "3", "--profile", profile),
        *tiny,
    )
    assert code == 0
    assert out == f"1 task submitted; see: immo status {tmp_path}/runs.jobs\n"
    code, out, _ = typed("status", "runs", "--json")
    (row,) = json.loads(out)["tasks"]
    assert (row["name"], row["state"], row["epochs"]) == ("seed-3", "finished", 3)
    assert "epoch 3/3" in typed("logs", "runs", "seed-3")[1]
    assert typed("logs", "runs")[1].startswith("== seed-3\n")
    assert "nothing to submit" in typed("resume", "runs")[1]
    assert typed("cancel", "runs")[1].startswith("0 stopped")
    code, _, err = typed(
        "submit", "train", trained / "shards", "runs", "--seeds", "3", "--profile", profile, *tiny
    )
    assert code == 1
    assert "found an earlier job" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "SHARDS", "r", "--profile", "moon"], 1, "profile 'moon': no such file"),
        (["train", "SHARDS", "r", "--profile", "local", "--epohcs", "3"], 2, "--epohcs"),
        (["train", "SHARDS", "--profile", "local"], 2, "RUN"),
        (["embed", "r", "--profile", "local"], 2, "'embed' cannot be a job"),
        (["train", "SHARDS", "r", "--profile", "local", "--seeds", "x"], 2, "--seeds 'x'"),
        (["train", "nowhere", "r", "--profile", "local"], 1, "nowhere"),
    ],
)
def test_wrong_use(typed, trained, tmp_path, words, code, message):
    words = [trained / "shards" if word == "SHARDS" else word for word in words]
    found, _, err = typed("submit", *words)
    assert found == code
    assert message.lower() in err.lower()
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_no_job_here(typed):
    for verb in ("status", "logs", "resume", "cancel"):
        code, _, err = typed(verb, "runs")
        assert code == 1
        assert "is no job folder" in err


def test_the_login_node_needs_no_torch(trained, tmp_path):
    script = (
        "import sys\n"
        "from immo_hpc.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "import immo_jobs.worker, immo_jobs.slurm, immo_jobs.local, submitit\n"
        "print(sorted({'torch', 'pandas', 'pyarrow'} & set(sys.modules)), file=sys.stderr)\n"
    )
    words = ["submit", "train", trained / "shards", "runs", "--profile", "slurm", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        cwd=tmp_path,
        env={**os.environ, "SUBMITIT_LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "#SBATCH" in done.stdout
    loaded = done.stderr.strip().splitlines()[-1]
    assert "torch" not in loaded
