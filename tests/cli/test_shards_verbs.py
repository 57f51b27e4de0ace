"""`immo shards`: what each verb says, and what it does when something is wrong."""

import errno
import io
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.manifest import read_manifest
from immo_hpc.data.shards import read_shards
from immo_hpc.lease import hold

VERBS = ["ls", "verify", "stats", "merge", "append", "prune"]


def done(outcome):
    code, out, err = outcome
    assert code == 0, err
    return out


def failed(outcome, expected, code=1):
    exit_code, _, err = outcome
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, err
    assert re.search(expected, errors[0], re.IGNORECASE), errors[0]
    assert exit_code == code


@pytest.fixture
def shards(trained, tmp_path):
    """A copy of the small cohort's shards."""
    return shutil.copytree(trained / "shards", tmp_path / "shards")


@pytest.fixture
def more(trained, tmp_path):
    """The small cohort's people a year later, and three new ones; mb has another feature."""
    folder = tmp_path / "more"
    folder.mkdir()
    for path in (trained / "cohort").iterdir():
        text = path.read_text()
        (folder / path.name).write_text(re.sub(r"(P\d\d)V(\d)", r"\1V\g<2>later", text))
    for name in ("mg.csv", "samples.tsv"):
        text = (folder / name).read_text()
        new = [line for line in text.splitlines() if line.startswith(("P00", "P01", "P02"))]
        (folder / name).write_text(text + re.sub("P0", "Q0", "\n".join(new)) + "\n")
    table = pd.read_csv(folder / "mb.csv")
    table["m9"] = np.exp(np.linspace(0, 3, len(table)))
    table.to_csv(folder / "mb.csv", index=False)
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lease"}


def test_every_verb_shows_an_example(immo):
    listed = done(immo("shards", "--help"))
    for verb in VERBS:
        assert verb in listed
        shown = re.sub(r"\s+", " ", done(immo("shards", verb, "--help")))
        assert f"Example: immo shards {verb}" in shown


def test_ls_tells_what_is_there(immo, shards):
    told = json.loads(done(immo("shards", "ls", shards, "--json")))
    manifest = read_manifest(shards)
    assert told["samples"] == 36
    assert told["layers"]["mg"] == {"samples": 36, "features": 6}
    assert told["layers"]["mb"]["samples"] == 24
    assert told["splits"] == dict(manifest.splits)
    assert told["patterns"][0] == {"layers": ["mg", "mb"], "samples": 24}
    (file,) = told["files"]
    assert (file["rows"], file["row_groups"], file["bytes"]) == (36, 1, manifest.shards[0].bytes)
    assert "UNCOMPRESSED" in file["compression"]
    assert (told["generation"], told["history"]) == (1, [])
    text = done(immo("shards", "ls", shards))
    for words in ("36 samples, float32", "24 samples x 5 features", "24 samples with mg + mb"):
        assert words in text


def test_verify_names_every_problem(immo, shards):
    assert "sound; 36 samples in 1 shard" in done(immo("shards", "verify", shards))
    (shards / "1.parquet").write_bytes(b"")
    shard = shards / "00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"X")
    code, out, err = immo("shards", "verify", shards, "--json")
    assert (code, err) == (1, "")
    problems = json.loads(out)["problems"]
    assert len(problems) == 2
    assert re.search(r"00000\.parquet, Parquet footer: the checksum does not match", problems[0])
    assert "1.parquet: a shard that the manifest does not list" in problems[1]
    (shards / "manifest.json").write_text("{")
    code, out, _ = immo("shards", "verify", shards)
    assert (code, "1 problem" in out, "manifest.json" in out) == (1, True, True)


def test_stats_are_those_of_the_values(immo, shards):
    table = pd.read_csv(io.StringIO(done(immo("shards", "stats", shards, "--csv"))))
    names = ["layer", "feature", "side", "measured", "mean", "sd", "min", "max"]
    assert table.columns.tolist() == names
    held = read_shards(shards).cohort
    train = held.layers["mg"].values[held.split == "train"]
    part = table[(table["layer"] == "mg") & (table["side"] == "train")]
    np.testing.assert_allclose(part["mean"], train.mean(axis=0), atol=1e-6)
    told = json.loads(done(immo("shards", "stats", shards, "--json")))
    assert len(told["statistics"]) == len(table)
    assert "z-scores by layer and side" in done(immo("shards", "stats", shards))


def test_append_and_what_is_told_of_it(immo, shards, more, tmp_path):
    before = read_shards(shards).cohort
    told = done(immo("shards", "append", shards, more, "--drift", tmp_path / "drift.tsv"))
    assert "generation 2" in told
    assert "new: 45 samples" in told
    drift = pd.read_csv(tmp_path / "drift.tsv", sep="\t")
    assert len(drift) == 11
    assert {"shift", "shift_se", "below", "above", "mean", "sd"} <= set(drift.columns)
    after = read_shards(shards).cohort
    side = dict(zip(before.subjects, before.split, strict=True))
    late = dict(zip(after.subjects, after.split, strict=True))
    assert side.items() <= late.items()
    assert set(late) - set(side) == {"Q00", "Q01", "Q02"}
    listed = done(immo("shards", "ls", shards))
    assert "generation 2: more: 45 samples" in listed
    assert "earlier generations kept: 1" in listed
    done(immo("shards", "verify", shards))
    _, _, err = immo("shards", "append", shards, more)
    assert "nothing was done" in err
    assert "dropped: 1" in done(immo("shards", "prune", shards))
    assert not (shards / "manifest-1.json").exists()


def test_append_with_features_and_a_layer(immo, shards, more, trained, tmp_path):
    code, _, err = immo("shards", "append", shards, more, "--layers", "mg")
    assert code == 0, err
    parts = tmp_path / "parts"
    parts.mkdir()
    rna = pd.read_csv(trained / "cohort" / "mb.csv").rename(columns=lambda name: f"r{name}")
    rna = rna.rename(columns={"rsample_id": "sample_id"})
    rna.iloc[:, 1:] = np.log(rna.iloc[:, 1:])
    rna.to_csv(parts / "rna.csv", index=False)
    told = json.loads(done(immo("shards", "append", shards, parts, "--json")))
    assert told["added"]["layers"] == ["rna"]
    assert told["added"]["completed"] == 24
    # The layer that was left out above comes for samples that are there by now.
    told = json.loads(
        done(immo("shards", "append", shards, more, "--skip-known", "--add-features", "--json"))
    )
    assert told["added"]["samples"] == 0
    assert told["added"]["completed"] == 24
    done(immo("shards", "verify", shards))
    assert read_manifest(shards).generation == 4


def test_new_features_join_for_new_samples(immo, shards, more):
    _, _, err = immo("shards", "append", shards, more, "--add-features")
    assert "1 features joined: m9" in err
    assert read_manifest(shards).features["mb"][-1] == "m9"
    done(immo("shards", "verify", shards))


def test_merge(immo, shards, trained, tmp_path):
    failed(immo("shards", "merge", shards, tmp_path / "out"), "two sets or more", code=2)
    copy = shutil.copytree(shards, tmp_path / "copy")
    failed(immo("shards", "merge", shards, copy, tmp_path / "out"), r"common sample, found 36")
    assert not (tmp_path / "out").exists()


def test_what_an_append_refuses(immo, shards, more, trained, tmp_path):
    files = content(shards)
    failed(immo("shards", "append", shards, trained / "cohort"), r"already.*'P00V0'.*--skip-known")
    failed(immo("shards", "append", shards, tmp_path / "nowhere"), "nowhere")
    failed(immo("shards", "append", tmp_path / "nowhere", more), "nowhere.*expected a folder of")
    failed(immo("shards", "append", shards, more, "--drift", "d.xlsx"), r"\.tsv", code=2)
    failed(immo("shards", "append", shards, more, "--drift", tmp_path / "a/d.tsv"), "folder", 2)
    with hold(shards / "growing.lease"):
        failed(immo("shards", "append", shards, more), r"growing\.lease.*at work there")
        failed(immo("shards", "prune", shards), r"growing\.lease.*at work there")
    assert content(shards) == files


def test_what_a_stopped_append_left_is_told_and_harmless(immo, shards, more):
    (shards / "2-0123abcd-00000.parquet").write_bytes(b"half")
    (shards / ".append").mkdir()
    code, out, err = immo("shards", "verify", shards)
    assert (code, "sound" in out) == (0, True)
    assert len(re.findall(r"note: .*left by an append that was stopped", err)) == 2
    done(immo("shards", "append", shards, more))
    assert not (shards / "2-0123abcd-00000.parquet").exists()
    assert not (shards / ".append").exists()
    assert "left by" not in immo("shards", "verify", shards)[2]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.parametrize("room", [0, 0.3, 0.7], ids=["at once", "early", "late"])
def test_a_full_disk_leaves_the_set_as_it_was(room, immo, shards, more, tmp_path):
    elsewhere = shutil.copytree(shards, tmp_path / "elsewhere")
    done(immo("shards", "append", elsewhere, more, "--add-features"))
    added = set(content(elsewhere)) - set(content(shards))
    pages = int(room * sum(-(-len(content(elsewhere)[name]) // 4096) for name in added))
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("this machine lets no file system be mounted")
    try:
        folder = shutil.copytree(shards, mount / "shards")
        files = content(folder)
        free = os.statvfs(mount).f_bfree * os.statvfs(mount).f_bsize
        (mount / "filler").write_bytes(b"x" * (free - pages * 4096))
        failed(immo("shards", "append", folder, more, "--add-features"), "disk is full")
        assert content(folder) == files
        (mount / "filler").unlink()
        done(immo("shards", "append", folder, more, "--add-features"))
        done(immo("shards", "verify", folder))
    finally:
        # Lazily: the error on its way still holds the file it could not write.
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize("call", range(1, 14, 3))
def test_a_disk_that_fills_up_leaves_the_set_as_it_was(call, immo, shards, more, monkeypatch):
    files = content(shards)
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = immo("shards", "append", shards, more)
    monkeypatch.undo()
    assert (code == 0) == (len(calls) < call), err
    if code:
        assert "disk is full" in err
        assert content(shards).keys() - {"manifest-1.json"} >= files.keys()
        assert {name: content(shards)[name] for name in files} in (
            files,
            files | {"manifest.json": content(shards)["manifest.json"]},
        )
    assert immo("shards", "verify", shards)[0] == 0
