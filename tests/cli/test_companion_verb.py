"""The companion from the command line: fitted by train, used by impute, left out if asked."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.read import read_cohort
from immo_hpc.data.shards import read_shards

SMALL = ["--set=train.epochs=8", "--set=model.latent_dim=8"]


def done(outcome):
    code, out, err = outcome
    assert code == 0, err
    return out


@pytest.fixture
def two_runs(immo, tmp_path):
    """Shards of a simulated cohort, a run with companion and one without."""
    done(immo("simulate", tmp_path / "cohort", "--subjects", 24, "--visits", 4, "--seed", 1))
    done(immo("prepare", tmp_path / "cohort", tmp_path / "shards"))
    told = immo("train", tmp_path / "shards", tmp_path / "both", *SMALL)
    done(told)
    assert "companion: keeps" in told[1] + told[2]
    off = [*SMALL, "--set=train.companion=off"]
    done(immo("train", tmp_path / "shards", tmp_path / "network", *off))
    return tmp_path


def hidden_cohort(folder):
    """The test people as a cohort of their own, a fifth of mb and all of mt hidden; the truth."""
    raw = read_cohort(folder / "cohort")
    split = read_shards(folder / "shards").cohort
    test = set(np.asarray(split.sample_ids)[split.indices("test")])
    (folder / "new").mkdir()
    raw.samples[raw.samples.index.isin(test)].to_csv(folder / "new" / "samples.tsv", sep="\t")
    shutil.copy(folder / "cohort" / "cohort.yaml", folder / "new")
    tables = {}
    for name, layer in raw.layers.items():
        ids = np.asarray(raw.sample_ids)[layer.rows]
        frame = pd.DataFrame(layer.values, index=ids, columns=list(layer.features))
        tables[name] = frame[frame.index.isin(test)].rename_axis("sample_id")
    truth = tables["mb"]
    is_hidden = np.random.default_rng(0).random(truth.shape) < 0.2
    tables["mb"] = truth.mask(is_hidden)
    for name, frame in tables.items():
        frame.to_csv(folder / "new" / f"{name}.csv")
    return truth.where(is_hidden)


def log_error(folder, truth):
    said = pd.read_parquet(folder / "mb.parquet").set_index("sample_id")
    said = said.loc[truth.index]
    known = truth[said.columns]
    return float(np.nanmean((np.log(said) - np.log(known)) ** 2))


def test_impute_is_nearer_to_the_truth_with_it(immo, two_runs):
    truth = hidden_cohort(two_runs)
    errors = {}
    for name, run, more in (
        ("both", "both", ["--no-visits"]),
        ("network", "network", []),
        ("visits", "both", []),
    ):
        out = two_runs / f"imputed-{name}"
        asked = ["--out", out, "--layers", "mb", *more]
        done(immo("impute", two_runs / run, two_runs / "new", *asked))
        errors[name] = log_error(out, truth)
    assert errors["both"] < 0.95 * errors["network"]
    assert errors["visits"] < 1.05 * errors["both"]


def test_it_is_there_only_if_asked_for_and_made_again_on_resume(immo, two_runs):
    assert not (two_runs / "network" / "companion.json").exists()
    files = [two_runs / "both" / f"companion.{end}" for end in ("json", "safetensors")]
    before = [file.read_bytes() for file in files]
    # As a process leaves it that was killed between the network and its companion.
    files[0].unlink()
    done(immo("train", two_runs / "shards", two_runs / "both", "--resume"))
    assert [file.read_bytes() for file in files] == before
    rules = json.loads(before[0])["rules"]
    assert set(rules) == {"plain", "visits"}


def test_who_and_when_are_taken_over_from_the_training(immo, tmp_path):
    """A cohort whose columns were named by options; new samples come as tables alone."""
    done(immo("simulate", tmp_path / "cohort", "--subjects", 24, "--visits", 4, "--seed", 1))
    path = tmp_path / "cohort" / "samples.tsv"
    samples = pd.read_csv(path, sep="\t").rename(columns={"subject_id": "person"})
    samples["week"] = np.arange(len(samples)) * 3
    samples.to_csv(path, sep="\t", index=False)
    (tmp_path / "cohort" / "cohort.yaml").unlink()
    named = ["--subject", "person", "--time", "week", "--time-unit", "weeks"]
    done(immo("prepare", tmp_path / "cohort", tmp_path / "shards", *named))
    roles = read_shards(tmp_path / "shards").manifest.roles
    assert (roles.subject, roles.time, roles.time_unit) == ("person", "week", "weeks")
    done(immo("train", tmp_path / "shards", tmp_path / "run", *SMALL))
    said = immo("impute", tmp_path / "run", tmp_path / "cohort", "--out", tmp_path / "out")
    done(said)
    assert "column 'person' is taken as the subject, as in training." in said[2]
    assert "column 'week' is taken as the time of each sample, in weeks" in said[2]
    assert "other visits" in said[1] + said[2]
    samples["week"] = "soon"
    samples.to_csv(path, sep="\t", index=False)
    code, _, err = immo("impute", tmp_path / "run", tmp_path / "cohort", "--out", tmp_path / "no")
    assert code == 1
    assert "column 'week' (time): expected numbers or ISO dates" in err
    assert not (tmp_path / "no").exists()


def test_a_unit_that_is_none_lists_those_that_are(immo, tmp_path):
    asked = ["--time", "week", "--time-unit", "fortnights"]
    code, _, err = immo("prepare", tmp_path, tmp_path / "shards", *asked)
    assert code == 2
    assert "'weeks'" in err
