"""The simulator: seeded, with known factors, and missing what IBDMDB misses."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.simulate import PATTERNS, SimulationConfig, simulate_cohort
from immo_hpc.errors import ConfigError


@pytest.fixture(scope="module")
def simulation():
    return simulate_cohort(SimulationConfig(seed=3))


def test_same_seed_same_cohort(simulation):
    again = simulate_cohort(SimulationConfig(seed=3))
    assert again.cohort.samples.equals(simulation.cohort.samples)
    np.testing.assert_array_equal(again.latent, simulation.latent)
    for name, layer in simulation.cohort.layers.items():
        np.testing.assert_array_equal(again.cohort.layers[name].values, layer.values)
        np.testing.assert_array_equal(again.cohort.layers[name].rows, layer.rows)
    other = simulate_cohort(SimulationConfig(seed=4))
    assert not np.array_equal(other.latent[:50], simulation.latent[:50])


def test_size_and_names(simulation):
    cohort = simulation.cohort
    assert 320 <= len(cohort.samples) <= 400
    assert cohort.sample_ids[:2] == ["S001V01", "S001V02"]
    assert cohort.samples.index.is_unique
    assert cohort.subjects.nunique() == 60
    shapes = {name: len(layer.features) for name, layer in cohort.layers.items()}
    assert shapes == {"mg": 150, "mt": 120, "mb": 180}
    for layer in cohort.layers.values():
        assert layer.values.shape == (len(layer.rows), len(layer.features))
        assert layer.values.dtype == np.float32
        assert (np.diff(layer.rows) > 0).all()
        assert len(set(layer.features)) == len(layer.features)
    assert cohort.measured().any(axis=1).all()


def test_label_belongs_to_the_subject_and_a_quarter_are_controls(simulation):
    table = simulation.cohort.samples.groupby("subject_id")["diagnosis"]
    assert (table.nunique() == 1).all()
    assert (table.first() == "control").sum() == 15
    for column in ("site", "age", "sex"):
        assert (simulation.cohort.samples.groupby("subject_id")[column].nunique() == 1).all()


def test_time_goes_on_within_a_subject(simulation):
    samples = simulation.cohort.samples
    for _, visits in samples.groupby("subject_id"):
        assert visits["visit"].tolist() == list(range(1, len(visits) + 1))
        assert visits["days"].is_monotonic_increasing


def test_pattern_frequencies_are_those_of_ibdmdb(simulation):
    measured = simulation.cohort.measured()
    for pattern, count in PATTERNS.items():
        share = (measured == pattern).all(axis=1).mean()
        assert share == pytest.approx(count / 1663, abs=1 / len(measured))


def test_missing_layers_follow_time(simulation):
    days = simulation.cohort.samples["days"]
    num_layers = simulation.cohort.measured().sum(axis=1)
    assert np.corrcoef(days, num_layers)[0, 1] < -0.3
    free = simulate_cohort(SimulationConfig(seed=3, time_dependence=0)).cohort
    assert abs(np.corrcoef(free.samples["days"], free.measured().sum(axis=1))[0, 1]) < 0.2


def test_layers_look_like_their_kind(simulation):
    layers = simulation.cohort.layers
    composition = layers["mg"].values
    np.testing.assert_allclose(composition.sum(axis=1), 100, rtol=1e-5)
    assert 0.4 < (composition == 0).mean() < 0.9
    counts = layers["mt"].values
    np.testing.assert_array_equal(counts, np.round(counts))
    assert counts.min() == 0
    libraries = counts.sum(axis=1)
    assert libraries.max() > 2 * libraries.min()
    assert 0.03 < np.isnan(layers["mb"].values).mean() < 0.2


def test_values_are_missing_below_a_limit_and_hidden_ones_are_known(simulation):
    layer, complete = simulation.cohort.layers["mb"], simulation.complete["mb"]
    truth = complete[layer.rows]
    hidden = np.isnan(layer.values)
    np.testing.assert_array_equal(layer.values[~hidden], truth[~hidden])
    assert np.isfinite(complete).all()
    for column in np.flatnonzero(hidden.any(axis=0)):
        gone = hidden[:, column]
        assert truth[gone, column].max() < truth[~gone, column].min()


def test_factors_can_be_found_again_in_complete_data_of_other_subjects(simulation):
    cohort = simulation.cohort
    every = np.arange(len(cohort.samples))
    layers = {
        name: Layer(name, layer.kind, layer.features, simulation.complete[name], every)
        for name, layer in cohort.layers.items()
    }
    complete = Cohort(cohort.samples, layers, cohort.roles)
    train = np.flatnonzero(cohort.subjects.isin([f"S{number:03}" for number in range(1, 46)]))
    test = np.setdiff1d(np.arange(len(cohort.samples)), train)
    x = fit_preparation(complete, train, PreparationConfig()).apply(complete).wide()
    guess = Ridge(alpha=100).fit(x[train], simulation.latent[train]).predict(x[test])
    assert r2_score(simulation.latent[test], guess, multioutput="raw_values").min() > 0.85


def test_the_label_shifts_its_factors_and_no_other():
    config = SimulationConfig(num_subjects=600, num_label_factors=3, label_effect=2.0)
    simulation = simulate_cohort(config)
    is_case = (simulation.cohort.labels == "case").to_numpy()
    shift = simulation.latent[is_case].mean(axis=0) - simulation.latent[~is_case].mean(axis=0)
    np.testing.assert_allclose(shift, [2, 2, 2, 0, 0, 0, 0, 0], atol=0.35)


def test_factors_are_partly_the_subjects_own():
    config = SimulationConfig(num_subjects=400, label_effect=0, subject_share=0.7)
    simulation = simulate_cohort(config)
    first = simulation.cohort.samples["visit"].to_numpy() == 1
    follows = np.flatnonzero(first[:-1] & ~first[1:])
    repeated = np.corrcoef(simulation.latent[follows, 5], simulation.latent[follows + 1, 5])
    assert repeated[0, 1] == pytest.approx(0.7, abs=0.1)


def test_optional_clinical_layer():
    simulation = simulate_cohort(SimulationConfig(num_clin=12))
    layer = simulation.cohort.layers["clin"]
    assert layer.kind == "continuous"
    assert 0 < np.isnan(layer.values).mean() < 0.1
    assert len(layer.rows) < len(simulation.cohort.samples)


def test_the_smallest_cohort_has_every_layer():
    config = SimulationConfig(num_subjects=4, visits_mean=1, num_mg=2, num_mt=2, num_mb=1)
    cohort = simulate_cohort(config).cohort
    assert all(len(layer.rows) for layer in cohort.layers.values())


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"num_subjects": 3}, "num_subjects must be from 4"),
        ({"num_label_factors": 9}, "num_label_factors must be from 0 to 8, found 9"),
        ({"noise": float("nan")}, "noise"),
    ],
)
def test_values_out_of_range_are_refused(values, match):
    with pytest.raises(ConfigError, match=match):
        SimulationConfig(**values)
