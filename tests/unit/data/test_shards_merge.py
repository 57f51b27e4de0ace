"""Sets of one preparation merge into one; sets that do not fit say in what they differ."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import merge_shards, read_shards, verify_shards, write_shards
from immo_hpc.errors import OutputError, ShardError


def make_cohort(first, count, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.lognormal(size=(count, 4)).astype(np.float32)
    layer = Layer("mb", "intensity", ("a", "b", "c", "d"), values, np.arange(count))
    samples = pd.DataFrame(
        {"person": [f"P{(first + number) // 2}" for number in range(count)]},
        index=pd.Index([f"s{first + number}" for number in range(count)], name="sample_id"),
    )
    return Cohort(samples, {"mb": layer}, Roles(subject="person"))


FIRST, SECOND = make_cohort(0, 10), make_cohort(10, 6, seed=1)
PREPARATION = fit_preparation(FIRST, np.arange(8), PreparationConfig())


def write(folder, cohort, preparation=PREPARATION, side="train", **options):
    split = None if side is None else np.full(len(cohort.samples), side)
    write_shards(preparation.apply(cohort, split=split), preparation, folder, **options)
    return folder


def test_merged_sets_hold_all_samples_in_the_same_files(tmp_path):
    a = write(tmp_path / "a", FIRST, rows_per_shard=4, source="north")
    b = write(tmp_path / "b", SECOND, side="test", notices=["put right"])
    merged = merge_shards([a, b], tmp_path / "both")
    assert verify_shards(tmp_path / "both") == ()
    found = read_shards(tmp_path / "both")
    assert found.manifest == merged
    one, other = read_shards(a), read_shards(b)
    assert found.cohort.sample_ids == one.cohort.sample_ids + other.cohort.sample_ids
    values = [part.cohort.layers["mb"].values for part in (one, other)]
    np.testing.assert_array_equal(found.cohort.layers["mb"].values, np.concatenate(values))
    assert dict(merged.splits) == {"test": 6, "train": 10}
    assert (merged.source, merged.notices) == ("north + b", ("put right",))
    sums = [entry.sha256 for part in (one, other) for entry in part.manifest.shards]
    assert [entry.sha256 for entry in merged.shards] == sums
    linked = tmp_path / "both" / merged.shards[0].name
    assert linked.stat().st_ino == (a / "00000.parquet").stat().st_ino


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    a, b = write(tmp_path / "a", FIRST), write(tmp_path / "b", SECOND)

    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    merge_shards([a, b], tmp_path / "both")
    assert verify_shards(tmp_path / "both") == ()


OTHER_FIT = fit_preparation(FIRST, np.arange(6), PreparationConfig())
NARROW = fit_preparation(
    replace(FIRST, layers={"mb": replace(FIRST.layers["mb"], features=("a", "b", "c", "e"))}),
    np.arange(8),
    PreparationConfig(),
)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda p: write(p, SECOND, OTHER_FIT), r"preparation was fitted on other.*'mb'"),
        (lambda p: write(p, SECOND, NARROW), r"'mb' has 4 and 4 features \(only one has 'd', 'e'"),
        (lambda p: write(p, SECOND, dtype="float16"), r"dtype are float32 and float16"),
        (lambda p: write(p, SECOND, side=None), r"one was split, the other not"),
        (
            lambda p: write(p, replace(SECOND, roles=Roles(batch="person"))),
            r"the roles of these columns are",
        ),
        (lambda p: write(p, make_cohort(8, 6)), r"common sample, found 2: 's8', 's9'"),
        (
            lambda p: write(p, SECOND.take(np.arange(6)).take([0, 1]), side="test"),
            None,
        ),
    ],
)
def test_sets_that_do_not_fit_say_in_what_they_differ(tmp_path, second, message):
    folders = [write(tmp_path / "a", FIRST), second(tmp_path / "b")]
    if message is None:
        merge_shards(folders, tmp_path / "both")
        return
    with pytest.raises(ShardError, match=message) as caught:
        merge_shards(folders, tmp_path / "both")
    assert str(tmp_path / "a") in str(caught.value)
    assert not (tmp_path / "both").exists()


def test_a_subject_never_comes_to_stand_on_two_sides(tmp_path):
    odd = make_cohort(9, 4, seed=2).take([2, 3])  # s11, s12: P5, P6
    odd = replace(odd, samples=odd.samples.assign(person=["P4", "P6"]))
    a, b = write(tmp_path / "a", FIRST), write(tmp_path / "b", odd, side="test")
    with pytest.raises(ShardError, match=r"subject 'P4'.*'train' in .*a, 'test' in .*b"):
        merge_shards([a, b], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_place_that_is_taken_and_a_missing_shard_are_refused(tmp_path):
    a, b = write(tmp_path / "a", FIRST), write(tmp_path / "b", SECOND)
    with pytest.raises(OutputError, match="not empty"):
        merge_shards([a, b], b)
    (b / "00000.parquet").unlink()
    with pytest.raises(ShardError, match=r"b/00000\.parquet"):
        merge_shards([a, b], tmp_path / "both")
    assert not (tmp_path / "both").exists()
