"""Reading past the page cache: when, with the same batches, and where it cannot be done."""

import errno
import os

import numpy as np
import pytest

from immo_hpc.data.shards import read_shards
from immo_hpc.data.stream import StreamSource, cache, open_shards, opened, source
from immo_hpc.errors import ShardError

needs_direct = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="no O_DIRECT here")


def test_limit_of_the_control_groups(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text("2000000000\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    own = tmp_path / "own"
    own.write_text("4:memory:/x\n0::/a/b\n")
    assert cache.group_limit(tmp_path, own) == 2_000_000_000
    own.write_text("4:memory:/x\n")
    assert cache.group_limit(tmp_path, own) is None
    for name, limit in {"": 9223372036854771712, "x": 3_000_000_000}.items():
        (tmp_path / "memory" / name).mkdir(exist_ok=True)
        (tmp_path / "memory" / name / "memory.limit_in_bytes").write_text(f"{limit}\n")
    assert cache.group_limit(tmp_path, own) == 3_000_000_000
    own.write_text("4:blkio,memory:/y\n0::/z\n")
    assert cache.group_limit(tmp_path, own) is None
    own.unlink()
    assert cache.group_limit(tmp_path, own) is None


@needs_direct
def test_files_much_larger_than_memory_go_past_the_cache(monkeypatch):
    assert cache.goes_past_cache(8 * 10**9, 2 * 10**9)
    assert not cache.goes_past_cache(3 * 10**9, 2 * 10**9)
    monkeypatch.setattr(cache, "group_limit", lambda: 10**6)
    assert cache.goes_past_cache(3 * 10**6)
    monkeypatch.setattr(cache, "group_limit", lambda: None)
    assert not cache.goes_past_cache(3 * 10**6)
    monkeypatch.delattr(cache.os, "O_DIRECT")
    assert not cache.goes_past_cache(8 * 10**9, 2 * 10**9)


@pytest.fixture
def past_cache(monkeypatch):
    monkeypatch.setattr(source, "goes_past_cache", lambda file_bytes: True)


def streamed(folder, chosen, epochs=2):
    """Values of every sample in each epoch, by layer and identity."""
    stream = StreamSource(open_shards(folder), chosen, batch_size=8, seed=0, memory_bytes=1500)
    found = []
    for epoch in range(epochs):
        rows = {}
        for batch in stream.epoch(epoch):
            for name, layer in batch.layers.items():
                for uid, values in zip(batch.sample_uid[layer.rows], layer.values, strict=True):
                    rows[name, int(uid)] = values.numpy().tobytes()
        found.append(rows)
    return found


@needs_direct
@pytest.mark.usefixtures("past_cache")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("block", [512, 4096])
def test_batches_are_the_same_past_the_cache(new_cohort, write, monkeypatch, dtype, block):
    folder = write(new_cohort(num_samples=60), group_rows=12, dtype=dtype)
    chosen = np.flatnonzero(np.random.default_rng(0).random(60) < 0.6)
    with monkeypatch.context() as patch:
        patch.setattr(source, "goes_past_cache", lambda file_bytes: False)
        expected = streamed(folder, chosen)
    monkeypatch.setattr(opened, "_BLOCK", block)
    assert streamed(folder, chosen) == expected
    held = read_shards(folder).cohort.take(chosen).layers
    assert len(expected[0]) == sum(len(layer.rows) for layer in held.values())


@needs_direct
@pytest.mark.usefixtures("past_cache")
@pytest.mark.parametrize("refused", ["opening", "reading"])
def test_a_file_system_without_it_is_read_through_the_cache(
    new_cohort, write, monkeypatch, refused
):
    folder = write(new_cohort(num_samples=40))
    expected = streamed(folder, np.arange(40))
    plain_open, plain_read, asked = os.open, os.preadv, []

    def open_file(path, flags):
        if flags & os.O_DIRECT and refused == "opening":
            asked.append(path)
            raise OSError(errno.EINVAL, "Invalid argument")
        return plain_open(path, flags)

    def read(descriptor, buffers, offset):
        if refused == "reading" and offset % 4096 == 0 and len(buffers[0]) % 4096 == 0:
            asked.append(offset)
            raise OSError(errno.EINVAL, "Invalid argument")
        return plain_read(descriptor, buffers, offset)

    monkeypatch.setattr(opened.os, "open", open_file)
    monkeypatch.setattr(opened.os, "preadv", read)
    assert streamed(folder, np.arange(40)) == expected
    assert asked


@needs_direct
@pytest.mark.usefixtures("past_cache")
def test_a_shard_cut_short_is_named_past_the_cache(new_cohort, write):
    folder = write(new_cohort(1, num_samples=30))
    index = open_shards(folder)
    stream = StreamSource(index, batch_size=4, seed=0, memory_bytes=300)
    list(stream.epoch(0))
    for path in folder.glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ShardError, match=r"column 'x_layer\d': damaged: the file ends \d+ bytes"):
        list(stream.epoch(1))
