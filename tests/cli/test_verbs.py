"""Each verb on a small cohort, as a user types it."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from immo_hpc import cli
from immo_hpc.data.read import read_cohort

VERBS = ["demo", "simulate", "validate", "prepare", "train"]
VERBS += ["embed", "impute", "generate", "classify", "compare", "explain", "report"]


def done(outcome):
    code, out, err = outcome
    assert code == 0, err
    return out


def test_every_verb_shows_an_example(immo):
    listed = done(immo("--help"))
    for verb in (*VERBS, "bench train", "bench kernels"):
        assert verb.split()[0] in listed
        assert "Example: immo" in re.sub(r"\s+", " ", done(immo(*verb.split(), "--help")))


def test_help_answers_without_heavy_imports():
    heavy = "torch", "pandas", "numba"
    script = f"import sys, immo_hpc.cli; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def test_version(immo):
    assert re.fullmatch(r"immo-hpc \d+\.\d+\.\d+\n", done(immo("--version")))


def test_simulate_is_seeded(immo, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        done(immo("simulate", tmp_path / name, "--subjects", 10, "--seed", seed))
    a, b, c = (read_cohort(tmp_path / name) for name in "abc")
    np.testing.assert_array_equal(a.layers["mg"].values, b.layers["mg"].values)
    assert a.layers["mg"].values.shape != c.layers["mg"].values.shape or not np.array_equal(
        a.layers["mg"].values, c.layers["mg"].values
    )


def test_validate(immo, small_cohort):
    out = done(immo("validate", small_cohort))
    assert "mg & mb" in out
    values = json.loads(done(immo("validate", small_cohort, "--json")))
    assert values["findings"] is not None


def test_json_of_every_step(immo, small_cohort, tmp_path, tiny):
    prepared = json.loads(
        done(immo("prepare", small_cohort, tmp_path / "s", "--json", "--seed", 5))
    )
    assert prepared["layers"]["mb"]["samples"] == 24
    assert sum(side["subjects"] for side in prepared["split"].values()) == 12
    trained = json.loads(done(immo("train", tmp_path / "s", tmp_path / "r", "--json", *tiny)))
    assert trained["epochs"] == 3
    lines = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]
    # What the shards were made with is what the run starts from.
    assert "seed: 5" in (tmp_path / "r" / "config.yaml").read_text()


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(trained, tmp_path, tiny):
    program = [sys.executable, "-c", "from immo_hpc.cli import main; main()"]
    words = ["train", str(trained / "shards"), *tiny]
    piped = subprocess.run(
        [*program, *words[:2], str(tmp_path / "piped"), *words[2:]],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = [line for line in piped.stderr.splitlines() if not line.startswith("note: ")]
    assert [line.split()[:2] for line in lines] == [["epoch", f"{n}/3"] for n in (1, 2, 3)]
    reader, writer = pty.openpty()
    command = [*program, *words[:2], str(tmp_path / "terminal"), *words[2:]]
    process = subprocess.Popen(command, stderr=writer)
    os.close(writer)
    shown = b""
    with contextlib.suppress(OSError):  # what a terminal says at its end
        while chunk := os.read(reader, 65536):
            shown += chunk
    assert process.wait() == 0
    os.close(reader)
    assert b"3/3" in shown
    assert b"epoch 1/3" not in shown


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("kind", "is_told"), [("invalid", False), ("overflow", True)])
def test_a_false_alarm_of_a_library_is_not_told(immo, monkeypatch, kind, is_told):
    def app(prog_name):
        warnings.warn(f"{kind} value encountered in matmul", RuntimeWarning, stacklevel=1)
        sys.exit(0)

    monkeypatch.setattr(cli, "app", app)
    with warnings.catch_warnings(record=True) as told:
        immo()
    assert [str(each.message) for each in told] == [f"{kind} value encountered in matmul"] * is_told


def test_split_cannot_be_changed_after_preparing(immo, trained, tmp_path):
    code, _, err = immo("train", trained / "shards", tmp_path / "r", "--set=split.by=sample")
    assert code == 1
    assert "immo prepare" in err


def test_resuming_a_finished_run_says_so(immo, trained):
    code, _, err = immo("train", trained / "shards", trained / "run", "--resume")
    assert code == 0
    assert "finished" in err


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv.gz", ".h5mu"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_embed_in_every_format(immo, trained, tmp_path, suffix):
    out = tmp_path / f"latent{suffix}"
    values = json.loads(done(immo("embed", trained / "run", "--out", out, "--json")))
    assert (values["samples"], values["latent_dim"]) == (36, 4)
    if suffix == ".h5mu":
        import mudata

        mdata = mudata.read_h5mu(out)
        assert mdata.obsm["X_immo"].shape == (36, 4)
    elif suffix == ".csv":
        assert pd.read_csv(out, index_col=0).shape == (36, 4)


def test_impute_keeps_what_was_measured(immo, trained, tmp_path):
    out = tmp_path / "imputed"
    done(immo("impute", trained / "run", trained / "cohort", "--out", out))
    raw = pd.read_csv(trained / "cohort" / "mb.csv", index_col=0)
    full = pd.read_parquet(out / "mb.parquet").set_index("sample_id")
    mask = pd.read_parquet(out / "imputed" / "mb.parquet").set_index("sample_id")
    assert full.shape == (36, 5)
    np.testing.assert_array_equal(full.loc[raw.index].to_numpy(), raw.to_numpy(np.float32))
    assert not mask.loc[raw.index].to_numpy().any()
    assert mask.drop(index=raw.index).to_numpy().all()
    assert full.to_numpy().min() >= 0
    # What was written is a cohort again.
    assert read_cohort(out).layers["mb"].values.shape == (36, 5)


def test_new_samples_with_one_layer_and_other_features(immo, trained, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    (new / "mb.csv").write_text("sample_id,m3,m0,x9\nN1,3000,1500,7\nN2,2000,,9\n")
    code, _, err = immo("embed", trained / "run", new, "--out", tmp_path / "latent.csv")
    assert code == 0
    assert "x9" in err
    assert "treated as not measured" in err
    assert list(pd.read_csv(tmp_path / "latent.csv")["sample_id"]) == ["N1", "N2"]
    done(
        immo("generate", trained / "run", new, "--from=mb", "--to=mg", "--out", tmp_path / "g.csv")
    )
    generated = pd.read_csv(tmp_path / "g.csv", index_col=0)
    np.testing.assert_allclose(generated.sum(axis=1), 100, rtol=1e-3)
    values = json.loads(done(immo("classify", trained / "run", new, "--json")))
    assert sum(values["counts"].values()) == 2
    values = json.loads(done(immo("explain", trained / "run", new, "--json", "--top", 2)))
    assert {row["layer"] for row in values["features"] if row["mean_abs"]} == {"mb"}


def test_classify_and_explain_write_their_tables(immo, trained, tmp_path):
    out = done(immo("classify", trained / "run", "--out", tmp_path / "c"))
    assert "learnt inside the training people" in out
    methods = pd.read_csv(tmp_path / "c" / "methods.csv")
    assert set(methods["source"]) == {"fused", "latent", "raw", "baseline"}
    json.loads((tmp_path / "c" / "classification.json").read_text())
    out = done(immo("explain", trained / "run", "--out", tmp_path / "e", "--top", 3))
    assert "completeness error" in out
    assert len(pd.read_csv(tmp_path / "e" / "features.csv")) == 11


def test_report(immo, trained, tmp_path):
    done(immo("report", trained / "run", tmp_path / "deep" / "report.html"))
    page = (tmp_path / "deep" / "report.html").read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "may" in page


def test_demo_on_a_given_cohort(immo, small_cohort, tmp_path, tiny):
    out = done(immo("demo", tmp_path / "out", "--cohort", small_cohort, *tiny))
    report = Path(out.strip().splitlines()[-1])
    assert report.name == "report.html"
    assert report.stat().st_size > 50_000
    assert (tmp_path / "out" / "imputed" / "mb.parquet").exists()


def test_a_killed_training_is_resumed_exactly(trained, tmp_path, tiny):
    """Kill `immo train` for real, then --resume: the weights are those of an undisturbed run."""
    words = [*tiny, "--set=train.epochs=40", "--set=train.checkpoint_epochs=1"]
    words += ["--set=train.patience=40", "--set=train.num_threads=1"]

    def command(run, *more):
        program = [sys.executable, "-c", "from immo_hpc.cli import main; main()"]
        return [*program, "train", str(trained / "shards"), str(run), *words, *more]

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(tmp_path / "whole"), check=True, **quiet)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    process = subprocess.Popen(command(tmp_path / "killed"), **quiet)
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if metrics.exists() and metrics.read_text().count("\n") >= 5:
            process.kill()
            break
        time.sleep(0.005)
    assert process.wait() == -9
    subprocess.run(command(tmp_path / "killed", "--resume"), check=True, **quiet)
    from immo_hpc.inference import TrainedModel

    whole, killed = (TrainedModel.load(tmp_path / name) for name in ("whole", "killed"))
    ours, theirs = whole.model.state_dict(), killed.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
