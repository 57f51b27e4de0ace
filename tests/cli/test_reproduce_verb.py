"""`immo reproduce` as a user types it, on a simulated cohort of the paper's layers."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.data.write import write_cohort
from immo_hpc.workflow.reproduce import RESULT

WORDS = ("--quick", "--workers", 1)
PARTS = (
    "search.json",
    "split-sample-0.json",
    "split-subject-0.json",
    "masks-sample-dynamic-0.json",
    "masks-sample-static-0.json",
    "masks-subject-dynamic-0.json",
    "masks-subject-static-0.json",
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce") / "cohort"
    config = SimulationConfig(num_subjects=28, visits_mean=4, num_mg=14, num_mt=10, num_mb=12)
    write_cohort(simulate_cohort(config).cohort, folder)
    return folder


def until(is_so, seconds=120):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_killed_and_repeated_it_ends_with_tables_json_and_a_page(immo, cohort, tmp_path):
    out, work = tmp_path / "out", tmp_path / ".out.reproduce"
    command = [sys.executable, "-m", "immo_hpc.cli", "reproduce", "ibdmdb", cohort, out, *WORDS]
    process = subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: any((work / name).exists() for name in PARTS))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    made = {name: (work / name).stat().st_ino for name in PARTS if (work / name).exists()}
    assert 0 < len(made) < len(PARTS)
    seen = {}

    code, printed, said = immo("reproduce", "ibdmdb", cohort, out, *WORDS, "--json")
    assert code == 0, said
    assert "7 parts" in said
    for name in made:
        assert f"s: {name.removesuffix('.json')}" not in said
    values = json.loads(printed)
    saved = json.loads((out / RESULT).read_text())
    assert saved["auc"] == values["auc"]
    seen = {path.name for path in out.iterdir()}
    tables = {"subsets", "search", "masks", "curves", "auc", "gains", "layers", "features"}
    assert seen == {RESULT, "report.html", "inputs.json", "config.yaml"} | {
        f"{name}.tsv" for name in tables
    }
    # Nothing is left beside the result.
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    _check(out, values)
    _check_repeated(immo, cohort, out, printed)


def _check(out, values):
    auc = pd.read_csv(out / "auc.tsv", sep="\t")
    assert len(auc) == 8 * 2
    assert auc["sample"].between(0, 1).all()
    assert auc.loc[auc["subset"] == "IBD_all", "subject"].between(0, 1).all()
    assert set(auc["classifier"]) == {"lda", "ridge"}
    assert values["search_about"]["trials"] == 2
    assert values["search_about"]["paper_fixed"] > 0
    assert len(values["layers"]) == 7
    assert {row["layer"] for row in values["features"]} == {"mg", "mt", "mb"}
    assert {(row["by"], row["kind"]) for row in values["masks"]} == {
        (by, kind) for by in ("sample", "subject") for kind in ("dynamic", "static")
    }
    assert all(values["verdicts"].values())
    made = values["made"]
    assert made["command"].startswith("immo reproduce ibdmdb COHORT OUT --workers 1")
    assert "parts from before" in made
    assert "No figure here is worth quoting" in (out / "report.html").read_text()


def _check_repeated(immo, cohort, out, printed):
    """The same again is told again; other settings are refused, and nothing is touched."""
    before = (out / RESULT).stat().st_mtime_ns
    code, again, said = immo("reproduce", "ibdmdb", cohort, out, *WORDS, "--json")
    assert (code, again) == (0, printed), said
    code, _, said = immo("reproduce", "ibdmdb", cohort, out, *WORDS, "--seed", 1)
    assert code == 1
    assert "they differ in: configuration" in said
    assert (out / RESULT).stat().st_mtime_ns == before


def test_another_cohort_is_refused_before_anything_is_written(immo, cohort, tmp_path):
    code, _, said = immo("reproduce", "ipop", cohort, tmp_path / "out", *WORDS)
    assert code == 1
    assert "the layers prot, gut16s, mb are needed; prot, gut16s are not there" in said
    code, _, said = immo("reproduce", "magic", cohort, tmp_path / "out", *WORDS)
    assert code == 2
    assert "the paper's cohorts are ibdmdb, ipop" in said
    code, _, said = immo("reproduce", "ipop", cohort, tmp_path / "out", "--study", tmp_path)
    assert code == 2
    assert "the paper has no search on ipop" in said
    assert not list(tmp_path.iterdir())


def test_parts_of_other_inputs_are_refused(immo, cohort, tmp_path):
    work = tmp_path / ".out.reproduce"
    work.mkdir()
    (work / "inputs.json").write_text(json.dumps({"which": "x"}))
    code, _, said = immo("reproduce", "ibdmdb", cohort, tmp_path / "out", *WORDS)
    assert code == 1
    assert "they differ in: which, cohort" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    code, _, said = immo("reproduce", "ibdmdb", cohort, tmp_path / "full", *WORDS)
    assert code == 1
    assert "expected nothing there" in said


def test_it_can_be_a_job(immo, cohort, tmp_path):
    words = ["submit", "reproduce", "ibdmdb", cohort, tmp_path / "out", "--quick"]
    code, printed, said = immo(*words, "--profile", "local", "--dry-run")
    assert code == 0, said
    assert f"immo reproduce ibdmdb {cohort} {tmp_path / 'out'} --quick" in printed
    code, _, said = immo(*words, "--profile", "local", "--dry-run", "--array", 2)
    assert code == 2
    assert "reproduce is one task" in said
