"""Statistics and drift of stored z-scores, against the whole array at once."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import append_cohort, layout, read_shards, write_shards
from immo_hpc.data.shards import stats as stats_module
from immo_hpc.data.shards.drift import _trimmed_mean
from immo_hpc.data.shards.stats import FeatureStatistics, set_statistics

CONFIG = ImmoConfig.model_validate({"split": {"by": "sample", "test_fraction": 0.0}})


def make_cohort(first, count, shift=0.0, num_features=12, seed=0):
    rng = np.random.default_rng([seed, first])
    values = rng.standard_normal((count, num_features))
    values[:, : num_features // 2] += shift
    values[rng.random(values.shape) < 0.1] = np.nan
    names = tuple(f"f{number}" for number in range(num_features))
    layer = Layer("x", "continuous", names, values.astype(np.float32), np.arange(count))
    return Cohort(pd.DataFrame(index=[f"s{first + n}" for n in range(count)]), {"x": layer})


def prepare(folder, cohort):
    split = np.where(np.arange(len(cohort.samples)) % 3 == 0, "test", "train")
    preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), CONFIG.preparation)
    write_shards(
        preparation.apply(cohort, split=split),
        preparation,
        folder,
        rows_per_shard=50,
        config=CONFIG.model_dump(mode="json", include={"seed", "split", "preparation"}),
    )
    return folder


def test_statistics_are_those_of_the_whole_array(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "GROUP_BYTES", 20 * 12 * 4)
    monkeypatch.setattr(stats_module, "_BLOCK_VALUES", 7 * 12)
    found = prepare(tmp_path / "set", make_cohort(0, 130))
    held = read_shards(found)
    table = set_statistics(found, held.manifest)
    values, split = held.cohort.layers["x"].values.astype(np.float64), held.cohort.split
    for side, rows in {
        "all": split != "",
        "train": split == "train",
        "test": split == "test",
    }.items():
        part = table[table["side"] == side]
        assert part["feature"].tolist() == list(held.manifest.features["x"])
        np.testing.assert_array_equal(part["measured"], (~np.isnan(values[rows])).sum(axis=0))
        np.testing.assert_allclose(part["mean"], np.nanmean(values[rows], axis=0), atol=1e-12)
        np.testing.assert_allclose(part["sd"], np.nanstd(values[rows], axis=0), rtol=1e-12)
        np.testing.assert_array_equal(part["min"], np.nanmin(values[rows], axis=0))
        np.testing.assert_array_equal(part["max"], np.nanmax(values[rows], axis=0))


def test_nothing_measured_is_no_number():
    found = FeatureStatistics(2)
    found.add(np.array([[1.0, np.nan], [3.0, np.nan]]))
    found.add(np.empty((0, 2)))
    assert found.count.tolist() == [2, 0]
    assert found.sd[0] == 1
    assert np.isnan(found.sd[1])


def test_trimmed_means_and_their_errors_are_those_of_yuen():
    rows = np.random.default_rng(0).standard_cauchy((41, 5)).astype(np.float32)
    rows[3:9, 1] = np.nan
    rows[:, 2] = np.nan
    mean, variance = _trimmed_mean(rows)
    for column in (0, 1, 3, 4):
        held = rows[:, column][~np.isnan(rows[:, column])].astype(np.float64)
        cut = int(0.2 * len(held))
        assert mean[column] == pytest.approx(reference.trim_mean(held, 0.2))
        winsorised = np.asarray(reference.mstats.winsorize(held, (cut / len(held),) * 2))
        left = len(held) - 2 * cut
        squares = ((winsorised - winsorised.mean()) ** 2).sum()
        assert variance[column] == pytest.approx(squares / (left * (left - 1)))
    assert np.isnan([mean[2], variance[2]]).all()
    assert _trimmed_mean(np.empty((0, 3), np.float32))[0].shape == (3,)


def grow(folder, cohort):
    return append_cohort(folder, lambda scratch: cohort, source="more")


def test_samples_like_the_old_ones_have_not_drifted(tmp_path):
    folder = prepare(tmp_path / "set", make_cohort(0, 300))
    done = grow(folder, make_cohort(300, 200))
    assert len(done.drift) == 12
    assert not done.drift["drifted"].any()
    assert (done.drift["shift"].abs() < 4 * done.drift["shift_se"]).all()
    assert (done.drift["mean"].abs() < 0.4).all()
    assert not any("drifted" in notice for notice in done.notices)


def test_shifted_features_are_found_and_the_layer_is_named(tmp_path):
    folder = prepare(tmp_path / "set", make_cohort(0, 300))
    done = grow(folder, make_cohort(300, 200, shift=6.0))
    drifted = done.drift[done.drift["drifted"]]
    assert set(drifted["feature"]) == {f"f{number}" for number in range(6)}
    assert done.drift["feature"].tolist()[:6] == drifted["feature"].tolist(), "most drifted first"
    units = read_shards(folder, 1).preparation.layers["x"].sd
    place = [int(name[1:]) for name in drifted["feature"]]
    np.testing.assert_allclose(drifted["shift"] * units[place], 6, atol=0.6)
    assert (drifted["above"] > 0.9).all()
    assert (drifted["below"] == 0).all()
    (told,) = [notice for notice in done.notices if "as a whole" in notice]
    assert "layer 'x' has drifted as a whole: 6 of 12 features" in told


def test_only_training_samples_are_looked_at(tmp_path):
    folder = prepare(tmp_path / "set", make_cohort(0, 90))
    config = {"split": {"by": "sample", "test_fraction": 0.99}}
    held = read_shards(folder)
    write_shards(held.cohort, held.preparation, tmp_path / "held", config=config)
    done = grow(tmp_path / "held", make_cohort(90, 5, shift=9.0))
    assert dict(done.splits) == {"test": 5}
    assert len(done.drift) == 0
