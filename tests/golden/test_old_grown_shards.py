"""A set that an older program grew reads today with the same content, in both generations.

The files under ``shards-v1-grown/`` are committed and never made again. They came from
`write_grown_shards` (``python tests/golden/test_old_grown_shards.py FOLDER``), which let the set
of ``shards-v1/`` grow by two samples, a layer and a feature.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.shards import append_cohort, read_shards, verify_shards

START = Path(__file__).parent / "shards-v1"
GROWN = Path(__file__).parent / "shards-v1-grown"

SAMPLES = pd.DataFrame(
    {"diagnosis": ["CD", None, "UC", "UC"], "subject_id": ["P1", "P1", "P4", "P3"]},
    index=pd.Index(["D1", "D2", "D3", "D4"], name="sample_id"),
)
MB = np.array([[200, 1000, 5], [300, 900, 20], [250, 800, np.nan], [260, 700, 9]], np.float32)
RNA = np.array([[1.5], [2.5], [4.0]], np.float32)


def coming():
    """Two visits of people on the training side, one more of each of two others."""
    layers = {
        "mb": Layer("mb", "intensity", ("bile", "urea", "taurine"), MB, np.arange(4)),
        "rna": Layer("rna", "continuous", ("gene",), RNA, np.arange(3)),
    }
    return Cohort(SAMPLES, layers, Roles(label="diagnosis", subject="subject_id"))


def write_grown_shards(folder):
    shutil.copytree(START, folder)
    append_cohort(folder, lambda scratch: coming(), source="year 2", add_features=True)


def test_grown_shards_are_sound_and_small():
    assert verify_shards(GROWN) == ()
    assert sum(path.stat().st_size for path in GROWN.iterdir()) < 60_000


def test_the_first_generation_is_the_set_it_grew_from():
    found, start = read_shards(GROWN, 1), read_shards(START)
    assert found.manifest == start.manifest
    for name, layer in start.cohort.layers.items():
        np.testing.assert_array_equal(found.cohort.layers[name].values, layer.values)


def test_grown_samples_read_as_they_were():
    found, start = read_shards(GROWN), read_shards(START)
    assert found.manifest.generation == 2
    growth = found.manifest.history[0]
    assert (growth.source, growth.samples, growth.completed) == ("year 2", 4, 0)
    assert (growth.layers, dict(growth.features)) == (("rna",), {"mb": 1})
    assert found.cohort.sample_ids == [*start.cohort.sample_ids, "D1", "D2", "D3", "D4"]
    assert found.cohort.split.tolist()[5:] == ["train", "train", "train", "test"]
    for name, layer in start.cohort.layers.items():
        grown, width = found.cohort.layers[name], len(layer.features)
        np.testing.assert_array_equal(grown.values[: len(layer.rows), :width], layer.values)


def test_grown_preparation_gets_back_to_original_units_and_is_read_anew():
    found = read_shards(GROWN)
    assert found.manifest.preparation["version"] == 2
    layer = found.cohort.layers["mb"]
    restored = found.preparation.invert("mb", layer.values, layer.scale)
    np.testing.assert_allclose(restored[-4:], MB, rtol=1e-5)
    assert np.isnan(restored[:-4, 2]).all()
    again = found.preparation.apply(replace(coming(), roles=Roles())).layers["mb"]
    np.testing.assert_allclose(again.values, layer.values[-4:], rtol=1e-6)
    rna = found.cohort.layers["rna"]
    np.testing.assert_allclose(rna.values[:, 0], (RNA[:, 0] - RNA.mean()) / RNA.std(), rtol=1e-6)


def test_an_old_set_grows_today_as_it_did_then(tmp_path):
    write_grown_shards(tmp_path / "set")
    now, then = read_shards(tmp_path / "set"), read_shards(GROWN)
    assert now.manifest.features == then.manifest.features
    assert now.manifest.splits == then.manifest.splits
    for name, layer in then.cohort.layers.items():
        np.testing.assert_array_equal(now.cohort.layers[name].rows, layer.rows)
        np.testing.assert_allclose(now.cohort.layers[name].values, layer.values, rtol=1e-6)


if __name__ == "__main__":
    write_grown_shards(Path(sys.argv[1]))
