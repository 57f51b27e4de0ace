"""Shards of format version 1, written by an older program, read today with the same content.

The files under ``shards-v1/`` are committed and never made again: a change that cannot read
them needs a new format version and a reader for this one. They came from `write_old_shards`
(``python tests/golden/test_old_shards.py FOLDER``) when version 1 began.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import read_shards, verify_shards, write_shards

OLD_SHARDS = Path(__file__).parent / "shards-v1"

SAMPLES = pd.DataFrame(
    {
        "diagnosis": ["CD", "UC", None, "CD", "nonIBD"],
        "subject_id": ["P1", "P1", "P2", "P3", "P4"],
        "age": [31.0, 31.5, np.nan, 8.0, 55.25],
    },
    index=pd.Index(["C1", "C2", "C3", "Ünal", "C5"], name="sample_id"),
)
SPLIT = np.array(["train", "train", "validation", "test", "train"])
# Original units; NaN = missing. Layer mb was measured in samples 1, 3 and 4 alone.
MG = np.array([[50, 30, 20], [10, 80, 10], [25, 25, 50], [40, 50, 10], [60, 20, 20]], np.float32)
MB = np.array([[100, 2000], [400, np.nan], [900, 500]], np.float32)
MB_ROWS = np.array([1, 3, 4])
PH = np.array([[1], [3], [9], [7], [8]], np.float32)
# First 8 bytes of `printf %s C1 | b2sum --length 64`, and so on, as little-endian int64.
UIDS = [
    -1906089783077362691,
    8982623261359716904,
    -8743268014858412812,
    -232192999753495756,
    -7871811247934116445,
]
# (PH - 4) / sqrt(26 / 3): mean and standard deviation of samples 0, 1 and 4.
PH_Z = [-1.0190492868423462, -0.3396831154823303, 1.6984155178070068, 1.0190492868423462]
PH_Z += [1.3587324619293213]


def write_old_shards(folder):
    """Write the set as version 1 began: two shards of three kinds of layers."""
    layers = {
        "mg": Layer("mg", "composition", ("s__A", "s__B", "s__C"), MG, np.arange(5)),
        "mb": Layer("mb", "intensity", ("bile", "urea"), MB, MB_ROWS),
        "ph": Layer("ph", "continuous", ("pH",), PH, np.arange(5)),
    }
    roles = Roles(label="diagnosis", subject="subject_id", covariates=("age",))
    cohort = Cohort(SAMPLES, layers, roles)
    preparation = fit_preparation(cohort, np.array([0, 1, 4]), PreparationConfig())
    prepared = preparation.apply(cohort, split=SPLIT)
    write_shards(
        prepared,
        preparation,
        folder,
        rows_per_shard=3,
        config={"seed": 7},
        source="tests/golden",
        notices=["the subject column was guessed."],
    )


def test_old_shards_are_sound_and_small():
    assert verify_shards(OLD_SHARDS) == ()
    assert sum(path.stat().st_size for path in OLD_SHARDS.iterdir()) < 50_000


def test_old_samples_read_as_they_were():
    found = read_shards(OLD_SHARDS)
    pd.testing.assert_frame_equal(found.cohort.samples, SAMPLES)
    assert found.cohort.sample_uid.tolist() == UIDS
    assert found.cohort.roles == Roles(label="diagnosis", subject="subject_id", covariates=("age",))
    np.testing.assert_array_equal(found.cohort.split, SPLIT)
    assert (found.manifest.config, found.manifest.source) == ({"seed": 7}, "tests/golden")
    assert found.manifest.notices == ("the subject column was guessed.",)
    assert [shard.rows for shard in found.manifest.shards] == [3, 2]


def test_old_values_read_as_they_were():
    cohort = read_shards(OLD_SHARDS).cohort
    assert [layer.features for layer in cohort.layers.values()] == [
        ("s__A", "s__B", "s__C"),
        ("bile", "urea"),
        ("pH",),
    ]
    np.testing.assert_array_equal(cohort.layers["mb"].rows, MB_ROWS)
    np.testing.assert_array_equal(np.isnan(cohort.layers["mb"].values), np.isnan(MB))
    np.testing.assert_array_equal(cohort.layers["ph"].values, np.array(PH_Z, np.float32)[:, None])
    np.testing.assert_array_equal(cohort.layers["mg"].scale, np.full(5, 100, np.float32))


def test_old_preparation_still_gets_back_to_original_units():
    found = read_shards(OLD_SHARDS)
    for name, original in (("mg", MG), ("mb", MB), ("ph", PH)):
        layer = found.cohort.layers[name]
        restored = found.preparation.invert(name, layer.values, layer.scale)
        np.testing.assert_allclose(restored, original, rtol=1e-5, err_msg=name)


if __name__ == "__main__":
    write_old_shards(Path(sys.argv[1]))
