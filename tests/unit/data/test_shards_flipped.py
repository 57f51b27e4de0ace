"""A flipped byte anywhere in a set is told with its place, and never read as a value."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.manifest import read_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import layout, read_shards, verify_shards, write_shards
from immo_hpc.data.shards.stats import set_statistics
from immo_hpc.errors import ShardError

PLACE = r"(, row group \d+, column '[\w ]+'|, Parquet footer|, outside the values| is a shard of)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of two row groups each."""
    rng = np.random.default_rng(0)
    layers = {}
    for name, rows in (("mg", np.arange(12)), ("mb", np.arange(1, 12, 2))):
        values = rng.standard_normal((len(rows), 20)).astype(np.float32)
        features = tuple(f"{name}{number}" for number in range(20))
        layers[name] = PreparedLayer(name, features, values, rows, np.ones(len(rows), np.float32))
    samples = pd.DataFrame({"age": np.arange(12) / 2}, index=[f"s{n}" for n in range(12)])
    cohort = PreparedCohort(samples, layers, split=np.repeat(["train", "test"], 6))
    target = tmp_path_factory.mktemp("flipped") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "GROUP_BYTES", 3 * 40 * 4)
        write_shards(cohort, Preparation({}), target, rows_per_shard=6)
    return target


def home_of(path, place):
    """Row group and column of a byte that lies in the data of a column chunk."""
    with pq.ParquetFile(path) as shard:
        for group in range(shard.num_row_groups):
            for number in range(shard.metadata.num_columns):
                chunk = shard.metadata.row_group(group).column(number)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                if start <= place < start + chunk.total_compressed_size:
                    return group, chunk.path_in_schema.split(".")[0]
    return None


@settings(max_examples=40)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), shard=st.integers(0, 1))
def test_a_flipped_bit_anywhere_in_a_shard(folder, where, bit, shard):
    path = folder / f"0000{shard}.parquet"
    sound = path.read_bytes()
    place = int(where * len(sound))
    home = home_of(path, place)
    is_value = home and home[1].startswith("x_") and place >= values_start(path, home)
    content = bytearray(sound)
    content[place] ^= 1 << bit
    try:
        path.write_bytes(bytes(content))
        with pytest.raises(ShardError, match=rf"{path.name}{PLACE}.*the checksum") as caught:
            read_shards(folder)
        (problem,) = verify_shards(folder)
        assert problem == str(caught.value)
        told = re.search(r"row group (\d+), column '(\w+)'", problem)
        if home and told:
            assert (int(told[1]), told[2]) == home
        if is_value:
            assert told, problem
            # What streams values does not sum up the whole file, but checks every page it reads.
            with pytest.raises(ShardError, match=rf"{path.name}, row group {home[0]}"):
                set_statistics(folder, read_manifest(folder))
    finally:
        path.write_bytes(sound)


def values_start(path, home):
    """First byte of the values of a layer in a row group: they are the last of its chunk."""
    group, column = home
    with pq.ParquetFile(path) as shard:
        count = len(shard.read_row_group(group, [column]).column(0).combine_chunks().flatten())
        found = shard.metadata.row_group(group)
        (chunk,) = [
            found.column(number)
            for number in range(found.num_columns)
            if found.column(number).path_in_schema.startswith(f"{column}.")
        ]
    return chunk.data_page_offset + chunk.total_compressed_size - 4 * count


@settings(max_examples=20)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_the_manifest(folder, where, bit):
    path = folder / "manifest.json"
    sound = path.read_bytes()
    content = bytearray(sound)
    content[int(where * len(sound))] ^= 1 << bit
    before = read_manifest(folder)
    try:
        path.write_bytes(bytes(content))
        problems = verify_shards(folder)
        if problems:
            with pytest.raises(ShardError, match=r"manifest\.json") as caught:
                read_manifest(folder)
            assert problems == (str(caught.value),)
        else:
            assert read_manifest(folder) == before, "only white space may change unnoticed"
    finally:
        path.write_bytes(sound)
