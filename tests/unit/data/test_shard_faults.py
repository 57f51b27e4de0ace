"""Damaged, missing and foreign shards: one message names shard, row group and column."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import layout, read_shards, verify_shards, write_shards
from immo_hpc.errors import ShardError

NUM_SAMPLES, NUM_FEATURES = 12, 6


def make_cohort(prefix="s", feature="f"):
    rng = np.random.default_rng(0)
    layers = {}
    for name, rows in (("mg", np.arange(NUM_SAMPLES)), ("mb", np.arange(1, NUM_SAMPLES, 2))):
        values = rng.standard_normal((len(rows), NUM_FEATURES)).astype(np.float32)
        features = tuple(f"{feature}{number}" for number in range(NUM_FEATURES))
        layers[name] = PreparedLayer(name, features, values, rows, np.ones(len(rows), np.float32))
    ids = [f"{prefix}{number}" for number in range(NUM_SAMPLES)]
    samples = pd.DataFrame({"age": np.arange(NUM_SAMPLES) / 2}, index=ids)
    return PreparedCohort(samples, layers, split=np.repeat(["train", "test"], NUM_SAMPLES // 2))


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Two shards of two row groups of three samples."""
    monkeypatch.setattr(layout, "GROUP_BYTES", 3 * 2 * NUM_FEATURES * 4)
    folder = tmp_path / "shards"
    write_shards(make_cohort(), Preparation({}), folder, rows_per_shard=6)
    return folder


def sign(folder, change=lambda content: None):
    """Change the manifest, and make its checksums fit whatever the files now hold."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    for entry in content["shards"]:
        shard = (folder / entry["name"]).read_bytes()
        entry |= {"bytes": len(shard), "sha256": hashlib.sha256(shard).hexdigest()}
    change(content)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))


def rewrite(folder, change, name="00001.parquet"):
    """Replace a shard by ``change`` of its table, in the same row groups, and sign it."""
    table = pq.read_table(folder / name)
    changed = change(table).replace_schema_metadata(table.schema.metadata)
    pq.write_table(changed, folder / name, row_group_size=3)
    sign(folder)


def replaced(table, column, array):
    return table.set_column(table.column_names.index(column), column, array)


def flip(folder, column, group, name="00001.parquet"):
    """Flip one bit at the end of a column's values in a row group."""
    with pq.ParquetFile(folder / name) as shard:
        found = shard.metadata.row_group(group)
        chunks = [found.column(number) for number in range(found.num_columns)]
    (chunk,) = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column]
    content = bytearray((folder / name).read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start + chunk.total_compressed_size - 2] ^= 4
    (folder / name).write_bytes(content)


def refused(folder, message):
    """Both ways of looking say so, in one sentence that names the place."""
    with pytest.raises(ShardError, match=message) as caught:
        read_shards(folder)
    assert str(folder) in str(caught.value)
    problems = verify_shards(folder)
    assert str(caught.value) in problems
    return problems


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("column", ["x_mg", "x_mb", "scale_mb", "sample_id", "sample_uid"])
def test_a_flipped_bit_is_found_to_its_column(shards, column, group):
    flip(shards, column, group)
    message = rf"00001\.parquet, row group {group}, column '{column}': the checksum does not match"
    assert len(refused(shards, message)) == 1


def test_every_flipped_byte_is_noticed(shards):
    path = shards / "00000.parquet"
    sound = path.read_bytes()
    for place in range(0, len(sound), len(sound) // 60):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        with pytest.raises(ShardError, match=r"00000\.parquet.*the checksum does not match"):
            read_shards(shards)


def test_a_truncated_shard(shards):
    path = shards / "00001.parquet"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    message = rf"00001\.parquet: truncated: expected {size} bytes, found {size // 2}"
    refused(shards, message)


def test_a_shard_that_is_no_parquet(shards):
    (shards / "00001.parquet").write_bytes(b"PAR1 but then nothing of the kind")
    sign(shards)
    refused(shards, r"00001\.parquet: not a readable Parquet file")


def test_a_missing_shard(shards):
    (shards / "00001.parquet").unlink()
    refused(shards, r"00001\.parquet: a shard .* cannot be read \(No such file or directory\)")


def test_a_shard_of_another_cohort(shards, tmp_path):
    other = tmp_path / "other"
    write_shards(make_cohort(feature="gene"), Preparation({}), other, rows_per_shard=6)
    shutil.copy(other / "00001.parquet", shards / "00001.parquet")
    refused(shards, r"00001\.parquet is a shard of another cohort or preparation: the checksum")
    sign(shards)
    refused(shards, r"00001\.parquet: a shard of another cohort .* its feature names are not")


def test_a_sample_in_two_shards(shards):
    shutil.copy(shards / "00000.parquet", shards / "00001.parquet")
    sign(shards)
    refused(shards, r"00000\.parquet, row 0 and .*00001\.parquet, row 0: column 'sample_uid'")


def test_identities_that_are_not_of_their_ids(shards):
    def swap(table):
        uids = table.column("sample_uid").to_pylist()
        uids[4] += 1
        return replaced(table, "sample_uid", pa.array(uids))

    rewrite(shards, swap)
    refused(shards, r"00001\.parquet, row group 1: column 'sample_uid' of sample 's10' is not")


def test_a_layer_of_another_type(shards):
    def double(table):
        return replaced(table, "x_mg", table.column("x_mg").cast(pa.list_(pa.float64())))

    rewrite(shards, double)
    message = (
        r"00001\.parquet: column 'x_mg' is list<\w+: double>, the manifest says list<element: "
    )
    refused(shards, message)


@pytest.mark.parametrize(("row", "group", "length"), [(5, 1, 5), (0, 0, 7), (3, 1, 0)])
def test_a_list_of_another_length(shards, row, group, length):
    def change(table):
        lists = table.column("x_mg").to_pylist()
        lists[row] = [0.5] * length
        return replaced(table, "x_mg", pa.array(lists, table.schema.field("x_mg").type))

    rewrite(shards, change)
    message = rf"00001\.parquet, row group {group}, row {row % 3}: column 'x_mg' has {length} val"
    refused(shards, message)


def test_columns_too_few_and_too_many(shards):
    def rename(table):
        names = [name.replace("obs_age", "obs_weight") for name in table.column_names]
        return table.rename_columns(names)

    rewrite(shards, rename)
    problems = refused(shards, r"column 'obs_age' is absent, the manifest says double")
    assert any("column 'obs_weight' is double, the manifest says absent" in one for one in problems)


def test_rows_other_than_the_manifest_counts(shards):
    rewrite(shards, lambda table: table.slice(0, 5))
    refused(shards, r"00001\.parquet: expected 6 rows, found 5")


@pytest.mark.parametrize(("counted", "change"), [(5, -1), (7, 1)])
def test_layers_other_than_the_manifest_counts(shards, counted, change):
    def shift(content):
        one, both = content["patterns"]
        both["samples"] += change
        one["samples"] -= change

    sign(shards, shift)
    message = rf"the manifest counts {counted} samples with layer 'mb', the shards hold 6"
    with pytest.raises(ShardError, match=message):
        read_shards(shards)


def test_a_split_that_is_not_there(shards):
    rewrite(shards, lambda table: replaced(table, "split", pa.nulls(6, pa.string())))
    with pytest.raises(ShardError, match=r"column 'split' is null for 6 samples"):
        read_shards(shards)


def test_verify_lists_every_problem(shards):
    flip(shards, "x_mg", 0, name="00000.parquet")
    (shards / "00001.parquet").unlink()
    (shards / "00002.parquet").write_bytes(b"")
    problems = verify_shards(shards)
    assert len(problems) == 3
    for name, problem in zip(("00000", "00001", "00002"), problems, strict=True):
        assert f"{name}.parquet" in problem
    assert "does not list" in problems[2]


def test_verify_tells_of_a_manifest_that_cannot_be_read(tmp_path):
    (problem,) = verify_shards(tmp_path)
    assert "found no manifest.json" in problem
