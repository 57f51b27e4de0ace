"""Preparation and splits on the real cohorts."""

import numpy as np
import pytest

from immo_hpc.config import PreparationConfig, SplitConfig
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.read import read_cohort
from immo_hpc.data.split import split_samples

pytestmark = pytest.mark.cohorts

KEPT = {
    "ibdmdb": {"mg": (150, 180), "mt": (186, 186), "mb": (500, 551)},
    "ipop": {
        "prot": (302, 302),
        "gut16s": (45, 45),
        "mb": (323, 323),
        "cyto": (62, 62),
        "clin": (47, 47),
    },
}


@pytest.mark.parametrize("name", KEPT)
def test_z_scores_of_training_rows_and_the_way_back(cohorts_dir, name):
    cohort = read_cohort(cohorts_dir / name)
    split = split_samples(cohort.samples, cohort.roles, SplitConfig(), 0)
    train = np.flatnonzero(split == "train")
    preparation = fit_preparation(cohort, train, PreparationConfig())
    prepared = preparation.apply(cohort, split=split)
    assert preparation.match_features(cohort) == ()
    np.testing.assert_array_equal(prepared.measured(), cohort.measured())
    for layer_name, (low, high) in KEPT[name].items():
        fitted, layer = preparation.layers[layer_name], prepared.layers[layer_name]
        original = cohort.layers[layer_name]
        assert low <= len(fitted.features) <= high
        columns = [original.features.index(feature) for feature in fitted.features]
        expected = original.values[:, columns]
        np.testing.assert_array_equal(np.isnan(layer.values), np.isnan(expected))
        assert not np.isinf(layer.values).any()
        assert np.isfinite(layer.scale).all()
        training = np.isin(layer.rows, train)
        z = layer.values[training].astype(np.float64)
        np.testing.assert_allclose(np.nanmean(z, axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(np.nanstd(z, axis=0), 1, atol=1e-5)
        back = preparation.invert(layer_name, layer.values, layer.scale)
        _assert_same(back[training], expected[training], fitted.kind, fitted.sd)
        if fitted.kind != "composition":
            _assert_same(back, expected, fitted.kind, fitted.sd)
        else:
            # Held-out values below the training rows' detection come back as 0, others as
            # they were.
            shown = back > 0
            np.testing.assert_allclose(back[shown], expected[shown], rtol=1e-5)
            assert (shown != (expected > 0)).mean() < 1e-3


def _assert_same(back, expected, kind, sd):
    if kind == "continuous":  # float32 rounding is relative to the spread of the feature
        close = np.abs(back - expected) <= 1e-5 * (np.abs(expected) + sd)
        assert (close | np.isnan(expected)).all()
    else:
        np.testing.assert_allclose(back, expected, rtol=1e-4 if kind == "intensity" else 1e-5)


def test_one_person_with_very_many_visits(cohorts_dir):
    cohort = read_cohort(cohorts_dir / "ipop")
    for seed in range(5):
        split = split_samples(cohort.samples, cohort.roles, SplitConfig(), seed)
        assert (split == "test").mean() == pytest.approx(0.25, abs=0.03)
        assert cohort.subjects.groupby(split).nunique()["test"] == 27


def test_single_cell_counts_come_back(cohorts_dir):
    cohort = read_cohort(cohorts_dir / "citeseq_pbmc")
    train = np.arange(0, len(cohort.samples), 2)
    preparation = fit_preparation(cohort, train, PreparationConfig())
    layer = preparation.apply(cohort).layers["rna"]
    columns = [cohort.layers["rna"].features.index(feature) for feature in layer.features]
    expected = cohort.layers["rna"].values[:, columns]
    back = preparation.invert("rna", layer.values, layer.scale)
    np.testing.assert_allclose(back, expected, rtol=1e-4)
