"""Damage is found the first time a row group is read, and said by shard, row group, column."""

import hashlib
import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from immo_hpc.data.shards import schema
from immo_hpc.data.stream import StreamSource, open_shards, read_samples
from immo_hpc.data.stream.page import read_page_header
from immo_hpc.errors import ShardError


@pytest.fixture
def shards(new_cohort, write):
    return write(new_cohort(1, num_samples=30))


def chunk_of(path, column, group):
    with pq.ParquetFile(path) as shard:
        found = shard.metadata.row_group(group)
        chunks = [found.column(number) for number in range(found.num_columns)]
    (chunk,) = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, start + chunk.total_compressed_size


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def drain(folder, epochs=1):
    source = StreamSource(open_shards(folder), batch_size=4, seed=0, memory_bytes=300)
    for epoch in range(epochs):
        for _ in source.epoch(epoch):
            pass


def sign(folder):
    """Make the manifest's checksums fit whatever the files now hold."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    for entry in content["shards"]:
        shard = (folder / entry["name"]).read_bytes()
        entry |= {"bytes": len(shard), "sha256": hashlib.sha256(shard).hexdigest()}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("place", ["first", "middle", "last", "levels"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_flipped_bit_of_the_values_is_found(new_cohort, write, place, dtype):
    folder = write(new_cohort(1, num_samples=30), dtype=dtype)
    index = open_shards(folder)
    group = next(g for g in index.groups if g.number == 1 and g.num_rows["layer2"])
    _, high = chunk_of(group.path, "x_layer2", 1)
    size = group.num_rows["layer2"] * 4 * np.dtype(dtype).itemsize
    first = high - size
    flip(
        group.path,
        {"first": first, "middle": first + size // 2, "last": high - 1, "levels": first - 1}[place],
    )
    message = rf"{group.path.name}, row group 1, column 'x_layer2': damaged: expected CRC-32"
    with pytest.raises(ShardError, match=message):
        drain(folder)
    assert not [thread for thread in threading.enumerate() if thread.name == "immo-stream"]
    with pytest.raises(ShardError, match=message):
        read_samples(index, range(30))


@pytest.mark.parametrize("byte", [0, 1, 5])
def test_a_damaged_page_header_is_found(shards, byte):
    index = open_shards(shards)
    group = next(g for g in index.groups if g.num_rows["layer2"])
    low, _ = chunk_of(group.path, "x_layer2", group.number)
    flip(group.path, low + byte)
    try:
        drain(shards)
    except ShardError as error:
        assert f"row group {group.number}, column 'x_layer2'" in str(error)  # noqa: PT017
    else:  # bits that say nothing of values: they read as they were
        assert byte != 5


def test_a_flipped_bit_about_the_samples_is_found_on_opening(shards):
    path = shards / "00001.parquet"
    _, high = chunk_of(path, "sample_uid", 1)
    flip(path, high - 2)
    with pytest.raises(ShardError, match=r"00001.parquet, row group 1, column 'sample_uid'"):
        open_shards(shards)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"00001.parquet: a shard of the manifest that cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), r"00001.parquet: truncated"),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), r"00001.parquet"),
    ],
)
def test_missing_and_truncated_shards_are_refused_on_opening(shards, damage, message):
    damage(shards / "00001.parquet")
    with pytest.raises(ShardError, match=message):
        open_shards(shards)


def test_a_shard_of_another_cohort_is_refused(shards, new_cohort, write):
    other = write(new_cohort(2, num_samples=30, widths=(3, 1, 5)))
    (shards / "00001.parquet").write_bytes((other / "00001.parquet").read_bytes())
    sign(shards)
    with pytest.raises(ShardError, match=r"00001.parquet: a shard of another cohort"):
        open_shards(shards)


def test_a_repeated_sample_is_refused(shards):
    (shards / "00001.parquet").write_bytes((shards / "00000.parquet").read_bytes())
    sign(shards)
    with pytest.raises(ShardError, match="row 0: column 'sample_uid' is the same"):
        open_shards(shards)


def test_a_shard_that_goes_away_while_it_is_streamed_is_named(shards):
    source = StreamSource(open_shards(shards), batch_size=4, seed=0, memory_bytes=300)
    for path in shards.glob("*.parquet"):
        path.unlink()
    with pytest.raises(ShardError, match=r"\.parquet, row group \d+, column 'x_layer"):
        list(source.epoch(0))


def test_shards_of_another_writer_are_decoded(new_cohort, write):
    """Compressed, of many pages and with dictionaries, as any Parquet writer may leave them."""
    cohort = new_cohort(4, num_samples=30)
    folder = write(cohort)
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table, path, row_group_size=5, data_page_size=8, compression="zstd")
    sign(folder)
    drain(folder, epochs=2)
    found = read_samples(open_shards(folder), range(30))
    for name, layer in cohort.layers.items():
        np.testing.assert_array_equal(found.layers[name].values, layer.values)


def test_pages_without_compression_are_decoded_if_they_are_several(new_cohort, write):
    cohort = new_cohort(4, num_samples=30)
    folder = write(cohort)
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        options = {"use_dictionary": False, "data_page_size": 8, "write_batch_size": 1}
        pq.write_table(table, path, row_group_size=9, compression="none", **options)
    sign(folder)
    index = open_shards(folder)
    assert any(chunk.is_plain for group in index.groups for chunk in group.chunks.values())
    found = read_samples(index, range(30))
    for name, layer in cohort.layers.items():
        np.testing.assert_array_equal(found.layers[name].values, layer.values)


def test_lists_that_are_not_alike_are_refused(shards):
    path = shards / "00000.parquet"
    table = pq.read_table(path)
    column = schema.values_column("layer2")
    lists = table.column(column).to_pylist()
    row = next(place for place, values in enumerate(lists) if values)
    lists[row] = lists[row][:-1]
    kind = table.schema.field(column).type
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array(lists, kind)), path)
    sign(shards)
    with pytest.raises(ShardError, match=r"00000.parquet, row group 0, column 'x_layer2'"):
        drain(shards)


@pytest.mark.parametrize("start", [b"", b"\x15", b"\x15\xff", b"\x15\x00\x15", b"\xff" * 20])
def test_what_is_no_page_header_is_none(start):
    assert read_page_header(start) is None
