"""Each kind of bad input ends with one message that helps, and leaves nothing half-written."""

import errno
import json
import os
import re
import shutil
import subprocess

import pandas as pd
import pytest

from immo_hpc.errors import UsageError


def edit_table(path, change):
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=object)
    changed = change(table)
    changed.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)


def set_cell(row, column, value):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


BAD_COHORTS = {
    "duplicate sample id in a layer": (
        lambda c: edit_table(c / "mg.csv", lambda t: pd.concat([t, t.iloc[[4]]])),
        r"mg\.csv.*P01V1",
    ),
    "duplicate sample id in the sample table": (
        lambda c: edit_table(c / "samples.tsv", lambda t: pd.concat([t, t.iloc[[4]]])),
        r"samples\.tsv.*P01V1",
    ),
    "text in a numeric column": (
        lambda c: edit_table(c / "mb.csv", set_cell(2, "m3", "high")),
        r"mb\.csv.*m3.*'?high'?",
    ),
    "infinite value": (
        lambda c: edit_table(c / "mb.csv", set_cell(2, "m3", "inf")),
        r"mb\.csv.*m3.*inf",
    ),
    "negative value in a composition": (
        lambda c: edit_table(c / "mg.csv", set_cell(5, "s1", "-0.5")),
        r"mg\.csv.*s1.*-0\.5",
    ),
    "layer sharing no sample": (
        lambda c: edit_table(c / "mb.csv", lambda t: t.assign(sample_id="x" + t["sample_id"])),
        r"mb\.csv.*samples\.tsv",
    ),
    "sample with no layer": (
        lambda c: edit_table(
            c / "samples.tsv",
            lambda t: pd.concat([t, t.iloc[[0]].assign(sample_id="P99V0", subject_id="P99")]),
        ),
        r"P99V0",
    ),
    "label column absent": (
        lambda c: edit_table(c / "samples.tsv", lambda t: t.rename(columns={"disease": "illness"})),
        r"samples\.tsv.*disease.*illness",
    ),
    "empty file": (lambda c: (c / "mb.csv").write_text(""), r"mb\.csv.*empty"),
    "truncated Parquet": (
        lambda c: (
            pd.read_csv(c / "mb.csv").to_parquet(c / "mb.parquet"),
            os.truncate(c / "mb.parquet", 500),
            (c / "mb.csv").unlink(),
        ),
        r"mb\.parquet",
    ),
    "unknown key in cohort.yaml": (
        lambda c: (c / "cohort.yaml").write_text("layers:\n  mg: {kind: composition}\nlable: x\n"),
        r"cohort\.yaml.*lable.*label",
    ),
    "unknown layer kind": (
        lambda c: (c / "cohort.yaml").write_text("layers:\n  mg: {kind: species}\n"),
        r"cohort\.yaml.*composition.*species",
    ),
}


def failed(outcome, expected, code=1):
    """Check that a command ended with one helpful message; return it."""
    exit_code, _, err = outcome
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, err
    assert re.search(expected, errors[0], re.IGNORECASE), errors[0]
    assert exit_code == code
    return errors[0]


@pytest.mark.parametrize("case", BAD_COHORTS)
def test_a_bad_cohort_is_refused(case, small_cohort, immo, tmp_path):
    spoil, expected = BAD_COHORTS[case]
    spoil(small_cohort)
    failed(immo("prepare", small_cohort, tmp_path / "shards"), expected)
    failed(immo("validate", small_cohort), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_shards_are_not_a_cohort(trained, immo, tmp_path):
    expected = "shards: expected a folder of tables, found prepared shards"
    failed(immo("prepare", trained / "shards", tmp_path / "again"), expected)
    failed(immo("validate", trained / "shards"), expected)
    assert not list(tmp_path.iterdir())


def test_negative_counts_are_refused(small_cohort, immo, tmp_path):
    text = (small_cohort / "cohort.yaml").read_text()
    (small_cohort / "cohort.yaml").write_text(text.replace("intensity", "counts"))
    edit_table(small_cohort / "mb.csv", set_cell(1, "m0", "-3"))
    failed(immo("prepare", small_cohort, tmp_path / "shards"), r"mb\.csv.*m0.*-3")


def test_an_all_missing_feature_is_dropped_and_said(small_cohort, immo, tmp_path):
    edit_table(small_cohort / "mb.csv", lambda t: t.assign(m2=""))
    code, _, err = immo("prepare", small_cohort, tmp_path / "shards")
    assert code == 0
    assert re.search(r"note: .*m2", err)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.assign(disease="case"), r"disease.*(one|single).*case"),
        (lambda t: t.assign(subject_id="P00"), r"subject_id.*(one|single|only).*P00"),
    ],
    ids=["one class only", "one subject only"],
)
def test_nothing_to_classify_is_said_before_anything_is_written(
    change, expected, small_cohort, immo, tmp_path, tiny
):
    edit_table(small_cohort / "samples.tsv", change)
    failed(immo("demo", tmp_path / "out", "--cohort", small_cohort, *tiny), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    assert immo("validate", small_cohort)[0] == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set=train.epoch=3"], r"train\.epoch.*train\.epochs"),
        (["--set=mask.values.p0=0.99"], r"p0.*p_max"),
        (["--set=loss.weights={mx: 1}"], r"mx.*mg"),
        (["--recipe=best"], r"best.*default, paper"),
    ],
)
def test_a_bad_configuration_is_refused(words, expected, trained, immo, tmp_path):
    failed(immo("train", trained / "shards", tmp_path / "run", *words), expected)
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_code_2(immo, trained, tmp_path):
    assert immo("train")[0] == 2
    assert immo("no-such-verb")[0] == 2
    outcome = immo("embed", trained / "run", "--out", tmp_path / "latent.xlsx")
    failed(outcome, r"xlsx.*parquet", code=2)


def test_a_wrong_checksum_is_refused(trained, immo, tmp_path):
    shards = shutil.copytree(trained / "shards", tmp_path / "shards")
    shard = next(shards.glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    failed(immo("train", shards, tmp_path / "run"), rf"{shard.name}.*checksum")
    assert not (tmp_path / "run").exists()


def test_a_truncated_shard_is_refused(trained, immo, tmp_path):
    shards = shutil.copytree(trained / "shards", tmp_path / "shards")
    shard = next(shards.glob("*.parquet"))
    os.truncate(shard, 100)
    failed(immo("train", shards, tmp_path / "run"), shard.name)


def test_a_run_of_another_format_version_is_refused(trained, immo, tmp_path, tiny):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    for name in ("run.json", "model.json"):
        content = json.loads((run / name).read_text())
        (key,) = [key for key in content if key in {"format_version", "version"}]
        content[key] = 99
        (run / name).write_text(json.dumps(content))
    failed(
        immo("embed", run, "--out", tmp_path / "latent.csv"), r"(run|model)\.json.*version 1.*99"
    )
    failed(immo("train", trained / "shards", run, "--resume", *tiny), r"run\.json.*version 1.*99")
    assert not (tmp_path / "latent.csv").exists()


def test_a_folder_that_is_no_run_is_refused(immo, tmp_path):
    failed(immo("embed", tmp_path / "nowhere"), r"nowhere.*(no|not).*(run|folder)")


def test_outputs_that_exist_are_not_replaced(trained, immo, tmp_path, small_cohort, tiny):
    full = tmp_path / "full"
    full.mkdir()
    (full / "kept").write_text("mine")
    failed(immo("prepare", small_cohort, full), r"full.*not empty")
    failed(immo("train", trained / "shards", full, *tiny), r"full")
    failed(immo("demo", full, "--cohort", small_cohort), r"full.*not empty")
    failed(immo("simulate", full), r"full.*not empty")
    failed(immo("impute", trained / "run", "--out", full), r"full.*not empty")
    failed(immo("embed", trained / "run", "--out", full / "kept"), "kept", code=2)
    table = full / "kept.csv"
    table.write_text("mine")
    failed(immo("embed", trained / "run", "--out", table), r"kept\.csv.*--force")
    assert (full / "kept").read_text() == table.read_text() == "mine"
    assert immo("embed", trained / "run", "--out", table, "--force")[0] == 0


def test_a_place_that_cannot_be_made_is_said_before_the_work(trained, immo, tmp_path, monkeypatch):
    monkeypatch.setattr("immo_hpc.workflow.report.open_run", lambda run: pytest.fail("worked"))
    (tmp_path / "file").write_text("mine")
    below = tmp_path / "file" / "below"
    expected = r"file.*cannot be written \((File exists|Not a directory)\)"
    failed(immo("report", trained / "run", below / "report.html"), expected)
    for words in (
        ("train",),
        ("train", "--processes", "1"),
        *((verb, "--quick") for verb in ("prepare", "kernels", "loader", "search")),
    ):
        failed(immo("bench", *words, "--out", below / "bench.json"), expected)
    for verb in ("prepare", "loader"):
        failed(immo("bench", verb, "--quick", "--folder", below), expected)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_bench_makes_the_folders_it_is_given(immo, tmp_path, monkeypatch):
    folder, out = tmp_path / "not" / "there", tmp_path / "neither" / "prepare.json"

    def measured(**given):
        assert given["folder"].is_dir()
        assert given["out"].parent.is_dir()
        raise UsageError("measured")  # noqa: EM101

    monkeypatch.setattr("immo_hpc.workflow.bench.time_preparing", measured)
    words = ("--quick", "--folder", folder, "--out", out)
    failed(immo("bench", "prepare", *words), "measured", code=2)


def test_new_samples_without_any_known_layer_are_refused(trained, immo, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "rna.csv").write_text("sample_id,g1\nA,1.5\nB,2.5\n")
    message = r"mg.*mb|rna"
    failed(immo("embed", trained / "run", other, "--out", tmp_path / "latent.csv"), message)


def test_generate_names_wrong_layers(trained, immo, tmp_path):
    out = tmp_path / "out.csv"
    failed(immo("generate", trained / "run", "--from=mg", "--to=mx", "--out", out), r"mx.*mg", 2)
    failed(immo("generate", trained / "run", "--from=mg", "--to=mg", "--out", out), r"mg", 2)
    assert not out.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.parametrize("verb", ["simulate", "prepare", "train", "embed"])
def test_a_full_disk_leaves_nothing_behind(verb, trained, immo, tmp_path, tiny):
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("this machine lets no file system be mounted")
    words = {
        "simulate": ["simulate", mount / "out"],
        "prepare": ["prepare", trained / "cohort", mount / "out"],
        "train": ["train", trained / "shards", mount / "out", *tiny],
        "embed": ["embed", trained / "run", "--out", mount / "out.csv"],
    }[verb]
    try:
        (mount / "filler").write_bytes(b"x" * 65536)
        failed(immo(*words), "disk is full")
        assert {path.name for path in mount.iterdir()} == {"filler"}
    finally:
        # Lazily: the error on its way still holds the file it could not write.
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_disk_that_fills_up_is_named_by_errno(trained, immo, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    failed(immo("embed", trained / "run", "--out", tmp_path / "latent.csv"), "disk is full")
    assert list(tmp_path.iterdir()) == []
