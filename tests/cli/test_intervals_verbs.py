"""Intervals, distances and calibration, as a user types it."""

import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from immo_hpc.cli import main
from immo_hpc.data.read import read_cohort
from immo_hpc.workflow.calibrate import covered
from immo_hpc.workflow.opened import open_run

LAYERS = ("mg", "mb")


def done(outcome):
    code, out, err = outcome
    assert code == 0, err
    return out, err


def tables(folder, name):
    def read(place):
        return pd.read_parquet(folder / place / f"{name}.parquet").set_index("sample_id")

    return {"values": read(""), **{part: read(part) for part in ("imputed", "lower", "upper")}}


@pytest.fixture(scope="module")
def larger(tmp_path_factory, tiny):
    """A simulated cohort of 40 people with 329 samples, trained on for a moment."""
    folder = tmp_path_factory.mktemp("larger")
    commands = (
        ["simulate", folder / "cohort", "--subjects", 40, "--visits", 8, "--seed", 3],
        ["prepare", folder / "cohort", folder / "shards", "--set=split.validation_fraction=0.5"],
        ["train", folder / "shards", folder / "run", *tiny],
    )
    for words in commands:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["immo", *map(str, words)])
            main()
        assert not ended.value.code
    return folder


def test_training_calibrates_and_impute_writes_ends(immo, larger, tmp_path):
    assert (larger / "run" / "calibration.safetensors").is_file()
    out, _ = done(
        immo("impute", larger / "run", "--interval", 0.9, "-o", tmp_path / "out", "--json")
    )
    assert json.loads(out)["interval"] == 0.9
    assert json.loads(out)["with_other_visits"] == 329
    for name in ("mg", "mt", "mb"):
        found = tables(tmp_path / "out", name)
        values, imputed = found["values"].to_numpy(), found["imputed"].to_numpy()
        lower, upper = found["lower"].to_numpy(), found["upper"].to_numpy()
        known = ~np.isnan(values)
        assert (lower[known] <= values[known]).all()
        assert (values[known] <= upper[known]).all()
        assert (lower == values)[known & ~imputed].all()
        assert (upper > lower)[known & imputed].mean() > 0.9
    distance = pd.read_csv(tmp_path / "out" / "distance" / "samples.tsv", sep="\t")
    assert list(distance) == ["sample_id", "distance", "layer", "p_value", "is_far"]
    # The folder is a cohort all the same.
    assert {"mg", "mt", "mb"} <= set(read_cohort(tmp_path / "out").layers)


def spoil(cohort, folder, num):
    """A copy of a cohort whose first samples have metabolites in other units."""
    shutil.copytree(cohort, folder)
    path = next(folder.glob("mb.*"))
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    table = read(path, **({} if path.suffix == ".parquet" else {"sep": None, "engine": "python"}))
    columns = table.columns[1:]
    table[columns] = table[columns].astype(float)
    table.loc[: num - 1, columns] *= 1e6
    path.unlink()
    table.to_csv(folder / "mb.csv", index=False)
    return list(table.iloc[:num, 0])


def test_far_samples_are_left_missing_unless_kept(immo, larger, tmp_path):
    spoilt = spoil(larger / "cohort", tmp_path / "new", 5)
    run = larger / "run"
    out, err = done(immo("impute", run, tmp_path / "new", "-o", tmp_path / "out", "--json"))
    assert re.search(r"of 329 samples what other visits .* \(--no-visits", err)
    assert json.loads(out)["far"] >= 5
    assert "far from the training data" in err
    assert "left missing (--far keep imputes it)" in err
    table = pd.read_csv(tmp_path / "out" / "distance" / "samples.tsv", sep="\t", index_col=0)
    assert table.loc[spoilt, "is_far"].all()
    assert (table.loc[spoilt, "layer"] == "mb").all()
    assert table["is_far"].mean() < 0.1
    for name in ("mg", "mt"):
        values = pd.read_parquet(tmp_path / "out" / f"{name}.parquet").set_index("sample_id")
        imputed = pd.read_parquet(tmp_path / "out" / "imputed" / f"{name}.parquet")
        assert not imputed.set_index("sample_id").loc[spoilt].any(axis=None)
        assert not values.loc[table.index[~table["is_far"]]].isna().any(axis=None)
    keep = ["impute", run, tmp_path / "new", "--far", "keep", "-o", tmp_path / "kept"]
    _, err = done(immo(*keep))
    assert "imputed all the same" in err
    for name in ("mg", "mt", "mb"):
        assert not pd.read_parquet(tmp_path / "kept" / f"{name}.parquet").isna().any(axis=None)


def test_embed_names_far_samples(immo, larger, tmp_path):
    spoilt = spoil(larger / "cohort", tmp_path / "new", 5)
    out = tmp_path / "latent.csv"
    _, err = done(immo("embed", larger / "run", tmp_path / "new", "-o", out))
    assert "far from the training data" in err
    table = pd.read_csv(tmp_path / "latent.distance.tsv", sep="\t", index_col=0)
    assert table.loc[spoilt, "is_far"].all()
    assert len(pd.read_csv(out)) == len(table)


def test_predictions_come_with_distances(immo, trained, small_cohort, tmp_path):
    done(immo("classify", trained / "run", small_cohort, "-o", tmp_path / "out"))
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv", index_col=0)
    assert predictions["immo_p_value"].between(0, 1).all()
    # Thirty-six samples are too few for one of them to be that rare.
    assert not predictions["immo_is_far"].any()


def test_a_run_without_calibration_says_so_and_is_given_one(immo, larger, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(larger / "run", run)
    (run / "calibration.safetensors").unlink()
    code, _, err = immo("impute", run, "--interval", 0.9, "-o", tmp_path / "out")
    assert code == 2
    assert "immo calibrate RUN" in err
    assert not (tmp_path / "out").exists()
    _, err = done(immo("impute", run, "-o", tmp_path / "plain"))
    assert "no calibration" in err
    done(immo("calibrate", run))
    same = (run / "calibration.safetensors").read_bytes()
    assert same == (larger / "run" / "calibration.safetensors").read_bytes()
    code, _, err = immo("calibrate", run)
    assert code == 1
    assert "Add --force" in err
    out, _ = done(immo("calibrate", run, larger / "shards", "--force", "--json"))
    assert min(json.loads(out)["subjects"].values()) >= 5


def test_wrong_levels_and_words_are_refused_before_anything_is_written(immo, larger, tmp_path):
    for words, said in (
        (["--interval", 0.91], "an interval is known for 0.5"),
        (["--far", "maybe"], "choose from abstain, keep"),
    ):
        code, _, err = immo("impute", larger / "run", *words, "-o", tmp_path / "out")
        assert code == 2
        assert said in err
        assert not (tmp_path / "out").exists()


def test_nobody_held_out_for_validation_is_told(immo, small_cohort, tmp_path, tiny):
    none = "--set=split.validation_fraction=0"
    done(immo("prepare", small_cohort, tmp_path / "s", none))
    _, err = done(immo("train", tmp_path / "s", tmp_path / "r", *tiny))
    assert "no intervals: nobody stands on the validation side" in err
    code, _, err = immo("calibrate", tmp_path / "r")
    assert code == 1
    assert "split.validation_fraction above 0" in err


def test_coverage_of_a_run_is_measured_on_its_test_people(larger):
    result = covered(open_run(larger / "run"))
    table = result.intervals
    assert set(table["layer"]) == {"mg", "mt", "mb"}
    assert set(table["task"]) == {"values", "layers", "revisited"}
    assert set(table.loc[~table["visits"], "task"]) == {"values", "layers"}
    assert set(table["nominal"]) == {0.8, 0.9, 0.95}
    assert (abs(table["coverage"] - table["nominal"]) < 0.15).all()
    assert ((table["lower"] <= table["coverage"]) & (table["coverage"] <= table["upper"])).all()
    assert 0 <= result.far.value < 0.1
