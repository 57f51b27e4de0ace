"""`immo train`: several processes, and starting from a run on shards that have grown."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

IMMO = Path(sys.executable).with_name("immo")
LONG = ["--set", "train.epochs=100000", "--set", "train.patience=100000"]


@pytest.fixture
def shards(trained, tmp_path):
    """A copy of the small cohort's shards."""
    return shutil.copytree(trained / "shards", tmp_path / "shards")


@pytest.fixture
def later(trained, tmp_path):
    """The small cohort's people a year later; mb has another feature, and mt is new."""
    folder = tmp_path / "later"
    folder.mkdir()
    for path in (trained / "cohort").iterdir():
        (folder / path.name).write_text(re.sub(r"(P\d\d)V(\d)", r"\1V\g<2>b", path.read_text()))
    table = pd.read_csv(folder / "mb.csv")
    table.assign(m9=table["m1"] * 2 + table["m2"]).to_csv(folder / "mb.csv", index=False)
    table.rename(columns=lambda name: name.replace("m", "t") if name != "sample_id" else name)[
        ["sample_id", "t0", "t1"]
    ].to_csv(folder / "mt.csv", index=False)
    yaml = (folder / "cohort.yaml").read_text()
    new = "  mb: {kind: intensity}\n  mt: {kind: intensity}\n"
    (folder / "cohort.yaml").write_text(yaml.replace("  mb: {kind: intensity}\n", new))
    return folder


def test_a_grown_set_is_trained_on_from_an_earlier_run(immo, tiny, shards, later, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert immo("train", shards, first, *tiny)[0] == 0
    code, _, said = immo("shards", "append", shards, later, "--add-features")
    assert code == 0, said
    code, _, said = immo("train", shards, second, "--init-from", first, "--set=train.epochs=2")
    assert code == 0, said
    assert f"note: starts from {first}" in said
    assert "note: layer mb: 5 features reused, 1 new (m9)." in said
    assert "note: layer mt: new, begins anew." in said
    assert "36 samples that both have" in said
    table = pd.read_csv(second / "drift.tsv", sep="\t", index_col="sample_id")
    assert list(table.columns) == ["cosine", "distance"]
    assert sorted(table.index) == sorted(f"P{p:02d}V{v}" for p in range(12) for v in range(3))
    assert json.loads((second / "drift.json").read_text())["samples"] == 36
    (second / "drift.json").unlink()
    assert "36 samples that both have" in immo("train", shards, second, "--resume")[2]

    assert immo("shards", "prune", shards)[0] == 0
    code, _, said = immo("train", shards, tmp_path / "third", "--init-from", first, "--seed=1")
    assert code == 0, said
    assert "note: no drift table: the shards that" in said
    assert not (tmp_path / "third" / "drift.tsv").exists()


def test_a_start_that_does_not_fit_is_refused_with_nothing_left(immo, tiny, trained, tmp_path):
    shards, first = trained / "shards", trained / "run"
    run = tmp_path / "run"
    options = ["--init-from", first, "--set=model.latent_dim=9"]
    code, _, said = immo("train", shards, run, *options)
    assert code == 1
    assert "error: --init-from" in said
    assert "model.latent_dim is 9, in the run 4" in said
    code, _, said = immo("train", shards, run, "--init-from", tmp_path / "nowhere")
    assert (code, "cannot be read" in said) == (1, True)
    assert not run.exists()


def start(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [IMMO, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def end_of(process):
    with process:
        out, said = process.communicate(timeout=120)
    return process.returncode, out, said


def wait_for_checkpoint(run, process):
    end = time.monotonic() + 120
    while not list(run.glob("checkpoints/epoch-*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)


def children_of(process):
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def test_processes_stop_are_killed_and_go_on(immo, tiny, trained, tmp_path):
    """Two processes, asked to stop; then one of them killed; then to the end by one."""
    shards, run = trained / "shards", tmp_path / "run"
    words = ["train", shards, run, *tiny, *LONG, "--processes", "2", "--resume"]
    process = start(*words)
    wait_for_checkpoint(run, process)
    process.send_signal(signal.SIGUSR2)
    code, out, said = end_of(process)
    assert (code, out) == (3, "")
    assert said.count("error: ") == 1
    assert f"error: {run}: stopped on SIGUSR2" in said

    newest = max(run.glob("checkpoints/epoch-*"))
    process = start(*words)
    while max(run.glob("checkpoints/epoch-*")) == newest:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.kill(children_of(process)[1], signal.SIGKILL)
    code, out, said = end_of(process)
    assert (code, out) == (3, "")
    assert "error: process 0 of 2 cannot reach another one, which has ended or was killed" in said
    assert "note: process 1 of 2 was killed by SIGKILL." in said
    assert "Traceback" not in said


def test_processes_train_what_one_does(immo, tiny, trained, tmp_path):
    shards = trained / "shards"
    shared = start("train", shards, tmp_path / "two", *tiny, "--processes", "2", "--json")
    code, out, said = end_of(shared)
    assert code == 0, said
    assert "note: 2 processes share each batch of 64 samples." in said
    code, alone, _ = immo("train", shards, tmp_path / "one", *tiny, "--json")
    assert json.loads(out)["validation"] == pytest.approx(json.loads(alone)["validation"], rel=1e-4)
    weights = load_file(tmp_path / "one" / "model.safetensors")
    for name, tensor in load_file(tmp_path / "two" / "model.safetensors").items():
        assert_close(tensor, weights[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_mistake_is_told_once(tiny, trained, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    process = start("train", trained / "shards", tmp_path / "run", *tiny, "--processes", "2")
    code, out, said = end_of(process)
    assert (code, out) == (1, "")
    assert said.count("error: ") == 1
    assert "expected a new run folder, found one that is not empty" in said


def test_processes_within_processes_are_refused(immo, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "0")
    code, _, said = immo("train", trained / "shards", tmp_path / "run", "--processes", "2")
    assert code == 2
    assert "--processes 2: this is one of 4 processes already" in said
