"""Fitting by statistics of chunks: the numbers of whole arrays, the same bits everywhere."""

import dataclasses
import itertools
import json
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import LAYER_KINDS, PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.matrices import open_matrix
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.preparation import rows as rows_module
from immo_hpc.data.preparation.rows import TrainingRows, in_folder
from immo_hpc.data.preparation.statistics import merge_means, merged, moments
from immo_hpc.errors import CohortError
from immo_hpc.work import WorkFolder

CONFIG = PreparationConfig(min_measured=0.1, min_prevalence=0.05)
NUM_SAMPLES, NUM_FEATURES = 300, 7
TRAIN = np.flatnonzero(np.arange(NUM_SAMPLES) % 4 != 0)
# Merging adds one rounding a chunk; this is some thousand times that (docs/adr/0010).
TOLERANCE = 1e-12


def _values(kind, rng, shape):
    if kind == "composition":
        values = rng.dirichlet(np.full(shape[1], 0.6), shape[0]) * 100
        return np.where(values < 1, 0, values)
    if kind == "counts":
        return rng.poisson(rng.lognormal(3, 1, shape[1]), shape)
    if kind == "intensity":
        return rng.lognormal(10, 2, shape)
    if kind == "continuous":
        return rng.normal(3, 5, shape)
    return rng.integers(0, 2, shape)


def _cohort():
    layers = {}
    for number, kind in enumerate(LAYER_KINDS):
        rng = np.random.default_rng(number)
        rows = np.arange(number % 2, NUM_SAMPLES, 1 + number % 2)
        values = _values(kind, rng, (len(rows), NUM_FEATURES)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        values[: len(rows) // 3, 5] = np.nan  # not measured in the first chunks
        values[TRAIN[0] :, 6] = 1.0 if kind == "continuous" else values[TRAIN[0] :, 6]
        features = tuple(f"{kind}_{number}" for number in range(NUM_FEATURES))
        layers[kind] = Layer(kind, kind, features, values, rows)
    index = pd.Index([f"s{number}" for number in range(NUM_SAMPLES)], name="sample_id")
    return Cohort(pd.DataFrame(index=index), layers)


COHORT = _cohort()


@pytest.fixture
def small_chunks(monkeypatch):
    """Blocks of 5 rows, chunks of 20: 8 or 12 chunks a layer."""
    monkeypatch.setattr(rows_module, "BLOCK_BYTES", 5 * NUM_FEATURES * 4)
    monkeypatch.setattr(rows_module, "_CHUNK_ROWS", 20)
    assert rows_module.rows_per_chunk(NUM_FEATURES) == 20


def _text(preparation):
    return json.dumps(preparation.to_dict(), sort_keys=True)


def _on_disk(cohort, folder):
    layers = {}
    for name, layer in cohort.layers.items():
        layer.values.tofile(folder / f"{name}.f32")
        values = open_matrix(folder / f"{name}.f32", layer.values.shape)
        layers[name] = dataclasses.replace(layer, values=values)
    return dataclasses.replace(cohort, layers=layers)


@pytest.mark.parametrize("quantile", [False, True])
def test_many_chunks_give_the_numbers_of_one(small_chunks, monkeypatch, quantile):
    config = CONFIG.model_copy(update={"quantile": quantile})
    many = fit_preparation(COHORT, TRAIN, config)
    monkeypatch.undo()
    one = fit_preparation(COHORT, TRAIN, config)
    for name, layer in one.layers.items():
        other = many.layers[name]
        assert (other.features, other.dropped) == (layer.features, layer.dropped)
        assert other.num_rows == layer.num_rows
        close = {"rtol": TOLERANCE, "atol": TOLERANCE}
        np.testing.assert_allclose(other.mean, layer.mean, **close, err_msg=name)
        np.testing.assert_allclose(other.sd, layer.sd, **close, err_msg=name)
        for field in dataclasses.fields(layer.transform):
            found, expected = (getattr(x.transform, field.name) for x in (other, layer))
            np.testing.assert_allclose(found, expected, **close, err_msg=f"{name}.{field.name}")


def test_mean_and_sd_are_those_of_the_whole_array_in_float64(small_chunks):
    preparation = fit_preparation(COHORT, TRAIN, CONFIG)
    for name, fitted in preparation.layers.items():
        layer = COHORT.layers[name]
        columns = [layer.features.index(feature) for feature in fitted.features]
        rows = np.isin(layer.rows, TRAIN)
        values = layer.values[rows][:, columns].astype(np.float64)
        transformed, scale = fitted.transform.forward(values[~np.isnan(values).all(axis=1)])
        whole = transformed.astype(np.longdouble)
        np.testing.assert_allclose(
            fitted.mean, np.nanmean(whole, axis=0).astype(float), rtol=1e-12, atol=1e-13
        )
        np.testing.assert_allclose(
            fitted.sd, np.nanstd(whole, axis=0).astype(float), rtol=TOLERANCE
        )
        assert fitted.num_rows == len(transformed)
        if name in ("composition", "counts"):
            assert fitted.median_scale == pytest.approx(np.median(scale), rel=TOLERANCE)


def test_from_disk_and_through_files_the_bits_are_the_same(small_chunks, tmp_path):
    expected = _text(fit_preparation(COHORT, TRAIN, CONFIG))
    streamed = _on_disk(COHORT, tmp_path)
    assert _text(fit_preparation(streamed, TRAIN, CONFIG)) == expected
    work = WorkFolder(tmp_path / "work")
    assert _text(fit_preparation(streamed, TRAIN, CONFIG, reduction=in_folder(work))) == expected
    files = sorted(path.name for path in work.path.iterdir())
    assert "0.all.look.000000.npz" in files
    # Half of the chunks are lost: they are done again, the others are read.
    for name in files[::2]:
        (work.path / name).unlink()
    assert _text(fit_preparation(COHORT, TRAIN, CONFIG, reduction=in_folder(work))) == expected


def test_prepared_values_from_disk_are_those_from_memory(small_chunks, tmp_path):
    preparation = fit_preparation(COHORT, TRAIN, CONFIG)
    streamed = preparation.apply(_on_disk(COHORT, tmp_path)).layers
    for name, layer in preparation.apply(COHORT).layers.items():
        np.testing.assert_array_equal(streamed[name].values, layer.values)
        np.testing.assert_array_equal(streamed[name].scale, layer.scale)
        np.testing.assert_array_equal(streamed[name].rows, layer.rows)


def test_prepared_values_do_not_depend_on_company(small_chunks):
    preparation = fit_preparation(COHORT, TRAIN, CONFIG)
    whole = preparation.apply(COHORT)
    for size in (1, 2, 7):
        for start in range(0, 60, size):
            index = np.arange(start, start + size)
            parts = preparation.apply(COHORT.take(index)).layers
            for name, layer in whole.take(index).layers.items():
                np.testing.assert_array_equal(parts[name].values, layer.values, err_msg=name)
                np.testing.assert_array_equal(parts[name].scale, layer.scale, err_msg=name)


def test_the_first_of_the_wrong_values_is_named_whatever_chunk_it_is_in(small_chunks):
    layer = COHORT.layers["intensity"]
    values = layer.values.copy()
    training = np.flatnonzero(np.isin(layer.rows, TRAIN))
    values[training[70], 2] = values[training[90], 1] = -3
    bad = dataclasses.replace(COHORT, layers={"x": dataclasses.replace(layer, values=values)})
    sample = bad.sample_ids[layer.rows[training[70]]]
    match = rf"sample '{sample}', feature 'intensity_2' is -3.0 \(2 such values\)"
    with pytest.raises(CohortError, match=match):
        fit_preparation(bad, TRAIN, CONFIG)


def test_a_chunk_without_any_value_changes_nothing(small_chunks):
    for kind in LAYER_KINDS:
        layer = COHORT.layers[kind]
        empty = np.full((45, NUM_FEATURES), np.nan, dtype=np.float32)
        longer = dataclasses.replace(
            layer,
            values=np.concatenate([empty, layer.values]),
            rows=np.arange(len(layer.values) + 45),
        )
        samples = pd.DataFrame(index=[f"s{number}" for number in longer.rows])
        cohort = Cohort(samples, {kind: longer})
        config = CONFIG.model_copy(update={"quantile": True})
        fitted = fit_preparation(cohort, longer.rows, config).layers[kind]
        short = dataclasses.replace(layer, rows=np.arange(len(layer.values)))
        alone = Cohort(samples.iloc[: len(short.rows)], {kind: short})
        expected = fit_preparation(alone, short.rows, config).layers[kind]
        assert fitted.num_rows == expected.num_rows
        np.testing.assert_allclose(fitted.mean, expected.mean, rtol=1e-9)
        np.testing.assert_allclose(fitted.sd, expected.sd, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
)
def test_moments_of_any_cut_are_those_by_exact_sums(seed, cuts, offset):
    rng = np.random.default_rng(seed)
    values = rng.normal(offset, 1, (60, 2))
    values[rng.random(values.shape) < 0.2] = np.nan
    edges = [0, *sorted(cuts), 60]
    found = merged([moments(values[a:b]) for a, b in itertools.pairwise(edges)], merge_means)
    for column in range(2):
        known = [float(value) for value in values[:, column] if value == value]
        mean = math.fsum(known) / len(known)
        m2 = math.fsum((value - mean) ** 2 for value in known)
        assert found["count"][column] == len(known)
        assert found["mean"][column] == pytest.approx(mean, rel=1e-14, abs=1e-14)
        assert found["m2"][column] == pytest.approx(m2, rel=1e-9)


def test_chunks_are_a_matter_of_the_number_of_features():
    seen = []

    def reduction(name, num_chunks, of_chunk):
        seen.append(num_chunks)
        return [of_chunk(chunk) for chunk in range(num_chunks)]

    values = np.zeros((100_000, 200), dtype=np.float32)
    rows = dataclasses.replace(TrainingRows.of(values), reduction=reduction)
    total = rows.learn("rows", lambda block: {"rows": np.array(len(block.values))}, _add)
    assert total["rows"] == 100_000
    assert seen == [-(-100_000 // rows_module.rows_per_chunk(200))]


def _add(one, other):
    return {"rows": one["rows"] + other["rows"]}


def test_memory_is_that_of_some_blocks_whatever_the_layer(tmp_path):
    peaks = []
    for num_rows in (10_000, 40_000):
        file = tmp_path / f"{num_rows}.f32"
        rng = np.random.default_rng(0)
        with file.open("wb") as stream:
            for _ in range(num_rows // 1000):
                rng.standard_normal((1000, 250), dtype=np.float32).tofile(stream)
        features = tuple(f"f{number}" for number in range(250))
        values = open_matrix(file, (num_rows, 250))
        layer = Layer("x", "continuous", features, values, np.arange(num_rows))
        samples = pd.DataFrame(index=[f"s{number}" for number in range(num_rows)])
        tracemalloc.start()
        fit_preparation(Cohort(samples, {"x": layer}), np.arange(num_rows), CONFIG)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The larger layer has 80 MB in float64; a block has 8 and is there a few times.
    assert peaks[1] < 60e6
    assert peaks[1] < peaks[0] + 5e6
