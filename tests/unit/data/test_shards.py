"""Shards: write then read is the identity, in the same bytes, and plain tools read them."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import layout, read_shards, verify_shards, write_shards
from immo_hpc.errors import OutputError, ShardError


@dataclass(frozen=True)
class Anything:
    """A preparation as far as writing needs one."""

    content: dict

    def to_dict(self):
        return self.content


@pytest.fixture(scope="module")
def preparation():
    """A small preparation, really fitted."""
    values = np.random.default_rng(0).lognormal(size=(20, 3)).astype(np.float32)
    layer = Layer("mb", "intensity", ("a", "b", "c"), values, np.arange(20))
    samples = pd.DataFrame(index=[f"s{number}" for number in range(20)])
    return fit_preparation(Cohort(samples, {"mb": layer}), np.arange(20), PreparationConfig())


def make_cohort(seed=0, num_samples=11, widths=(3, 1, 4), *, split=True):
    """Layers measured at random, missing values, and a sample table of several types."""
    rng = np.random.default_rng(seed)
    layers = {}
    for place, width in enumerate(widths):
        rows = np.flatnonzero(rng.random(num_samples) < rng.random())
        values = rng.standard_normal((len(rows), width)).astype(np.float32)
        values[rng.random(values.shape) < 0.2] = np.nan
        scale = rng.random(len(rows)).astype(np.float32)
        name = f"layer{place}"
        features = tuple(f"{name}.é{column}" for column in range(width))
        layers[name] = PreparedLayer(name, features, values, rows, scale)
    index = pd.Index([f"sample {number}" for number in range(num_samples)], name="sample_id")
    samples = pd.DataFrame(
        {
            "diagnosis": rng.choice(np.array(["case", "control", None]), num_samples),
            "person": [f"P{number // 3}" for number in range(num_samples)],
            "age": np.where(rng.random(num_samples) < 0.3, np.nan, 40.5),
            "visit": np.arange(num_samples),
            "smokes": np.arange(num_samples) % 2 == 0,
        },
        index=index,
    )
    roles = Roles(label="diagnosis", positive="case", subject="person", covariates=("age",))
    sides = rng.choice(["train", "validation", "test"], num_samples) if split else None
    return PreparedCohort(samples, layers, roles, sides)


def assert_same(found, expected):
    pd.testing.assert_frame_equal(found.samples, expected.samples)
    assert found.roles == expected.roles
    assert list(found.layers) == list(expected.layers)
    for name, layer in expected.layers.items():
        other = found.layers[name]
        assert (other.name, other.features) == (layer.name, layer.features)
        for field in ("values", "rows", "scale"):
            left, right = getattr(other, field), getattr(layer, field)
            assert left.dtype == right.dtype, field
            np.testing.assert_array_equal(left, right, err_msg=f"{name}.{field}")
    if expected.split is None:
        assert found.split is None
    else:
        np.testing.assert_array_equal(found.split, expected.split)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_samples=st.integers(1, 20),
    rows_per_shard=st.integers(1, 25),
    group_bytes=st.sampled_from([1, 100, 2**20]),
    split=st.booleans(),
)
def test_write_then_read_is_the_identity(
    tmp_path_factory, preparation, seed, num_samples, rows_per_shard, group_bytes, split
):
    cohort = make_cohort(seed, num_samples, split=split)
    folder = tmp_path_factory.mktemp("any") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "GROUP_BYTES", group_bytes)
        written = write_shards(cohort, preparation, folder, rows_per_shard=rows_per_shard)
    found = read_shards(folder)
    assert_same(found.cohort, cohort)
    assert found.manifest == written
    assert found.preparation.to_dict() == preparation.to_dict()
    assert len(written.shards) == -(-num_samples // rows_per_shard)
    assert verify_shards(folder) == ()


def test_manifest_counts_what_was_measured(tmp_path, preparation):
    cohort = make_cohort(1, 50)
    told = {"config": {"seed": 1}, "source": "by hand", "notices": ["put right"]}
    manifest = write_shards(cohort, preparation, tmp_path / "shards", **told)
    table = cohort.measured()
    for pattern in manifest.patterns:
        held = np.isin(list(cohort.layers), pattern.layers)
        assert pattern.samples == (table == held).all(axis=1).sum()
    sizes = [pattern.samples for pattern in manifest.patterns]
    assert sum(sizes) == 50
    assert sizes == sorted(sizes, reverse=True)
    assert manifest.splits == pd.Series(cohort.split).value_counts().to_dict()
    assert (manifest.config, manifest.source) == ({"seed": 1}, "by hand")
    assert manifest.notices == ("put right",)


def test_the_same_input_gives_the_same_bytes(tmp_path, preparation):
    for name in ("one", "two"):
        write_shards(make_cohort(2), preparation, tmp_path / name, rows_per_shard=4)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["00000.parquet", "00001.parquet", "00002.parquet", "manifest.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_float16_keeps_three_digits(tmp_path, preparation):
    cohort = make_cohort(3, 40)
    write_shards(cohort, preparation, tmp_path / "shards", dtype="float16")
    found = read_shards(tmp_path / "shards").cohort
    for name, layer in cohort.layers.items():
        assert found.layers[name].values.dtype == np.float32
        np.testing.assert_array_equal(
            found.layers[name].values, layer.values.astype(np.float16), err_msg=name
        )


def test_what_was_not_measured_takes_no_space(tmp_path):
    rows = np.array([7])
    values = np.random.default_rng(0).standard_normal((1, 5000)).astype(np.float32)
    features = tuple(str(number) for number in range(5000))
    layer = PreparedLayer("rna", features, values, rows, np.ones(1, np.float32))
    cohort = PreparedCohort(pd.DataFrame(index=[f"s{n}" for n in range(500)]), {"rna": layer})
    manifest = write_shards(cohort, Anything({}), tmp_path / "shards")
    assert manifest.shards[0].bytes < 2 * values.nbytes, "500 padded rows would be 10 MB"


def test_columns_that_arrow_has_no_type_for_become_text(tmp_path, preparation):
    cohort = make_cohort(4, 3)
    samples = cohort.samples.assign(
        mixed=[1, "two", None],
        grade=pd.Categorical(["low", None, "high"]),
        nothing=[None, None, None],
    )
    write_shards(replace(cohort, samples=samples), preparation, tmp_path / "shards")
    found = read_shards(tmp_path / "shards").cohort.samples
    assert found["mixed"].tolist() == ["1", "two", None]
    assert found["grade"].tolist() == ["low", None, "high"]
    assert found["nothing"].tolist() == [None, None, None]


def bad(**changes):
    """A cohort whose first layer has the given changes."""
    cohort = make_cohort(6, 12)
    layer = replace(cohort.layers["layer2"], **changes)
    return replace(cohort, layers=dict(cohort.layers) | {"layer2": layer})


def with_value(value):
    values = make_cohort(6, 12).layers["layer2"].values.copy()
    values[1, 2] = value
    return bad(values=values)


@pytest.mark.parametrize(
    ("cohort", "options", "message"),
    [
        (make_cohort(num_samples=0), {}, r"found 0 samples and 3 layers"),
        (make_cohort(widths=()), {}, r"found 11 samples and 0 layers"),
        (bad(features=(), values=np.empty((12, 0), np.float32)), {}, r"layer 'layer2'.*found none"),
        (bad(features=("a", "b", "a", "c")), {}, r"layer 'layer2'.*a name that occurs twice"),
        (make_cohort(), {"rows_per_shard": 0}, r"rows_per_shard: expected at least 1, found 0"),
        (
            with_value(-np.inf),
            {},
            r"layer 'layer2', sample 'sample \d+', feature .*é2': found -inf",
        ),
        (with_value(1e6), {"dtype": "float16"}, r"found 1000000\.0, expected .* float16"),
        (make_cohort().take([0, 1, 0]), {}, r"samples 0 \('sample 0'\) and 2 \('sample 0'\)"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, preparation, cohort, options, message):
    with pytest.raises(ShardError, match=message):
        write_shards(cohort, preparation, tmp_path / "shards", **options)
    assert not list(tmp_path.iterdir()), "something half-written was left"


def test_two_columns_of_one_name_are_refused(tmp_path, preparation):
    cohort = make_cohort()
    samples = cohort.samples.rename(columns={"age": "visit"})
    with pytest.raises(ShardError, match=r"columns \['visit'\] occur more than once"):
        write_shards(replace(cohort, samples=samples), preparation, tmp_path / "shards")


def test_two_ids_of_one_identity_are_refused(tmp_path, preparation, monkeypatch):
    monkeypatch.setattr(
        "immo_hpc.data.prepared.sample_uid", lambda ids: np.array([len(name) for name in ids])
    )
    with pytest.raises(ShardError, match=r"samples 0 \('sample 0'\) and 1 \('sample 1'\)"):
        write_shards(make_cohort(), preparation, tmp_path / "shards")


def test_a_folder_that_is_not_empty_is_refused(tmp_path, preparation):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="a folder that is not empty"):
        write_shards(make_cohort(), preparation, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


SCRIPT = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np, pandas as pd
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import write, write_shards

class Nothing:
    def to_dict(self):
        return {}

values = np.random.default_rng(0).standard_normal((400, 100)).astype(np.float32)
layer = PreparedLayer("mg", tuple(map(str, range(100))), values, np.arange(400), values[:, 0])
cohort = PreparedCohort(pd.DataFrame(index=[f"s{n}" for n in range(400)]), {"mg": layer})
event, folder = sys.argv[1], Path(sys.argv[2])
if event == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
else:
    calls = []
    def stop(*args, inner=getattr(write, event), **kwargs):
        calls.append(args)
        if len(calls) == 2 or event == "write_manifest":
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*args, **kwargs)
    setattr(write, event, stop)
write_shards(cohort, Nothing(), folder, rows_per_shard=100)
"""


def run_script(event, folder):
    command = [sys.executable, "-c", SCRIPT, event, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


@pytest.mark.parametrize("event", ["_layer_columns", "write_shard", "write_manifest"])
def test_killed_writing_leaves_no_folder_and_can_be_repeated(tmp_path, preparation, event):
    folder = tmp_path / "shards"
    assert run_script(event, folder).returncode == -signal.SIGKILL
    assert not folder.exists()
    write_shards(make_cohort(), preparation, folder)
    assert verify_shards(folder) == ()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    done = run_script("full", tmp_path / "shards")
    assert done.returncode == 1
    assert "immo_hpc.errors.OutputError" in done.stderr
    assert "the disk is full or over quota" in done.stderr
    assert not list(tmp_path.iterdir())


def test_row_groups_are_bounded(tmp_path, preparation, monkeypatch):
    monkeypatch.setattr(layout, "GROUP_BYTES", 4 * 8 * 4)
    write_shards(make_cohort(num_samples=11), preparation, tmp_path / "shards")
    with pq.ParquetFile(tmp_path / "shards" / "00000.parquet") as shard:
        rows = [shard.metadata.row_group(group).num_rows for group in range(shard.num_row_groups)]
        assert rows == [4, 4, 3]
        kind = shard.schema_arrow.field("x_layer2").type
    assert kind == pa.list_(pa.field("element", pa.float32(), nullable=False))
