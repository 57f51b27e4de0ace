"""Ends of intervals in original units, and a calibration kept beside its model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from immo_hpc.data.visits import visited, with_visits
from immo_hpc.errors import RunError, UsageError
from immo_hpc.inference import TrainedModel, write_imputed
from immo_hpc.inference.bounds import layer_bounds
from immo_hpc.inference.calibration.fit import calibration_of
from immo_hpc.inference.calibration.intervals import Offsets
from immo_hpc.inference.impute import abstained, complete_layer, joined


@pytest.fixture(scope="module")
def calibrated(trained, cohort):
    prepared = trained.prepare(cohort)
    places = np.arange(len(cohort.samples))
    found = calibration_of(trained, prepared.take(places[:24]), prepared.take(places[24:]), seed=0)
    return replace(trained, calibration=found)


def test_values_lie_between_their_ends_and_measurements_are_their_own(calibrated, cohort):
    result = calibrated.complete(calibrated.prepare(cohort), raw=cohort, level=0.9)
    for name, values in result.values.items():
        lower, upper = result.lower[name], result.upper[name]
        assert lower.dtypes.eq(np.float32).all()
        assert (lower.to_numpy() <= values.to_numpy()).all()
        assert (values.to_numpy() <= upper.to_numpy()).all()
        measured = ~result.imputed[name].to_numpy()
        for end in (lower, upper):
            np.testing.assert_array_equal(end.to_numpy()[measured], values.to_numpy()[measured])
            assert np.isfinite(end.to_numpy()).all()
            assert name == "cl" or end.to_numpy().min() >= 0
            assert name != "pa" or end.to_numpy().max() <= 1
        assert (upper.to_numpy()[~measured] > lower.to_numpy()[~measured]).mean() > 0.9


def test_ends_know_whether_another_visit_has_the_layer(calibrated, cohort):
    prepared = with_visits(calibrated.prepare(cohort).without("mb"))
    place, features = 3, prepared.layers["mb"].features
    visits = replace(
        prepared.layers["mb"],
        name="mb@visits",
        values=np.zeros((1, len(features)), dtype=np.float32),
        rows=np.array([place]),
        scale=np.ones(1, dtype=np.float32),
    )
    shown = replace(prepared, layers={**prepared.layers, "mb@visits": visits})
    unit = np.ones(len(features), dtype=np.float32)
    offsets = {
        mode: {
            task: Offsets(-size * unit, size * unit)
            for task, size in (("values", 9.0), ("layers", layer), ("revisited", 0.5))
        }
        for mode, layer in (("plain", 2.0), ("visits", 1.0))
    }
    z = np.zeros((len(cohort.samples), len(features)), dtype=np.float32)
    values = complete_layer("mb", z, shown, calibrated.preparation, None)[0]
    lower, upper = layer_bounds("mb", z, shown, calibrated.preparation, offsets, values)
    width = np.log1p(upper.to_numpy()) - np.log1p(lower.to_numpy())
    assert visited(shown).any()
    once = np.flatnonzero(~visited(shown))
    known = np.setdiff1d(np.flatnonzero(visited(shown)), place)
    assert (width[place] < 0.6 * width[known]).all()
    assert len(once) > 0
    assert (width[known[0]] < 0.6 * width[once]).all()
    for same in (once, known):
        np.testing.assert_allclose(width[same], width[same[:1]].repeat(len(same), axis=0))


def test_wider_for_higher_levels(calibrated, cohort):
    prepared = calibrated.prepare(cohort)
    narrow, wide = (calibrated.complete(prepared, raw=cohort, level=p) for p in (0.5, 0.95))
    for name in narrow.values:
        assert (wide.lower[name].to_numpy() <= narrow.lower[name].to_numpy()).all()
        assert (wide.upper[name].to_numpy() >= narrow.upper[name].to_numpy()).all()


def test_ends_of_portions_are_those_of_the_whole(calibrated, cohort):
    prepared = calibrated.prepare(cohort)
    whole = calibrated.complete(prepared, raw=cohort, level=0.9)
    places = np.array_split(np.arange(len(cohort.samples)), 3)
    parts = joined(
        [calibrated.complete(prepared.take(p), raw=cohort.take(p), level=0.9) for p in places]
    )
    for name in whole.lower:
        pd.testing.assert_frame_equal(parts.lower[name], whole.lower[name], rtol=1e-5)
        pd.testing.assert_frame_equal(parts.upper[name], whole.upper[name], rtol=1e-5)


def test_ends_are_written_beside_the_values(calibrated, cohort, tmp_path):
    result = calibrated.complete(calibrated.prepare(cohort), raw=cohort, level=0.9)
    write_imputed(tmp_path / "out", [result])
    for end in ("lower", "upper"):
        table = pd.read_parquet(tmp_path / "out" / end / "mb.parquet").set_index("sample_id")
        np.testing.assert_array_equal(table.to_numpy(), getattr(result, end)["mb"].to_numpy())


def test_abstaining_leaves_what_is_missing_missing(calibrated, cohort):
    result = calibrated.complete(calibrated.prepare(cohort), raw=cohort, level=0.9)
    is_far = np.zeros(len(cohort.samples), dtype=bool)
    is_far[[1, 5]] = True
    less = abstained(result, is_far)
    total = 0
    for name, values in less.values.items():
        was_imputed = result.imputed[name].to_numpy()
        left_out = was_imputed & is_far[:, None]
        total += left_out.sum()
        for table in (values, less.lower[name], less.upper[name]):
            np.testing.assert_array_equal(np.isnan(table.to_numpy()), left_out)
        np.testing.assert_array_equal(less.imputed[name].to_numpy(), was_imputed & ~left_out)
    assert total > 0
    assert abstained(result, np.zeros_like(is_far)) is result


def test_without_a_calibration_it_is_said_how_to_get_one(trained, cohort):
    prepared = trained.prepare(cohort)
    with pytest.raises(UsageError, match="no calibration.*immo calibrate RUN"):
        trained.complete(prepared, level=0.9)
    with pytest.raises(UsageError, match="no calibration"):
        trained.distances(prepared)
    assert not trained.complete(prepared).lower


def test_a_saved_calibration_comes_back(calibrated, cohort, tmp_path):
    calibrated.save(tmp_path / "model")
    again = TrainedModel.load(tmp_path / "model", device="cpu")
    prepared = again.prepare(cohort)
    pd.testing.assert_frame_equal(again.distances(prepared), calibrated.distances(prepared))
    one, other = (model.complete(prepared, raw=cohort, level=0.8) for model in (again, calibrated))
    for name in one.lower:
        pd.testing.assert_frame_equal(one.lower[name], other.lower[name])
        pd.testing.assert_frame_equal(one.upper[name], other.upper[name])
    counts = {at: (s.num_subjects, s.num_values) for at, s in again.calibration.spreads.items()}
    assert counts == {
        at: (s.num_subjects, s.num_values) for at, s in calibrated.calibration.spreads.items()
    }


def test_an_older_model_has_none_and_works(trained, cohort, tmp_path):
    trained.save(tmp_path / "model")
    again = TrainedModel.load(tmp_path / "model", device="cpu")
    assert again.calibration is None
    assert set(again.impute(again.prepare(cohort))) == set(cohort.layers)


def test_a_calibration_of_another_model_is_refused(calibrated, trained, tmp_path):
    calibrated.save(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    tensors["latent_bias"] = tensors["latent_bias"] + 1
    save_file(tensors, weights)
    with pytest.raises(RunError, match=r"another model.*model\.safetensors.*immo calibrate"):
        TrainedModel.load(tmp_path / "model", device="cpu")
    assert TrainedModel.load(tmp_path / "model", device="cpu", calibrated=False).calibration is None


@pytest.mark.parametrize("damage", ["cut", "foreign", "lacking"])
def test_a_damaged_calibration_is_told(calibrated, tmp_path, damage):
    calibrated.save(tmp_path / "model")
    path = tmp_path / "model" / "calibration.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "foreign":
        save_file({"x": np.zeros(1)}, path)
    else:
        metadata = {"calibration": '{"format": "immo-calibration", "format_version": 1}'}
        save_file({"x": np.zeros(1)}, path, metadata=metadata)
    with pytest.raises(RunError, match=r"calibration\.safetensors: .*immo calibrate"):
        TrainedModel.load(tmp_path / "model", device="cpu")
