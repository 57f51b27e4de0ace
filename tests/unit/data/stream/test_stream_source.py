"""Streaming: every sample once, for any number of processes, resumable, bit-equal values."""

import errno
import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.shards import read_shards
from immo_hpc.data.stream import StreamSource, groups, mapped, open_shards, opened, read_samples
from immo_hpc.data.stream.memory import Memory
from immo_hpc.errors import ShardError, UsageError

NUM_EXAMPLES = 25


def content(values):
    """Bytes of values, with one kind of NaN: a float16's turns into any float32's."""
    return np.where(np.isnan(values), np.float32("nan"), values).tobytes()


def rows_of(batch):
    """What a batch holds, by sample and layer: bytes of the values."""
    found = {uid: {} for uid in batch.sample_uid.tolist()}
    assert len(found) == batch.size
    for name, layer in batch.layers.items():
        assert layer.values.dtype == torch.float32
        assert bool((layer.rows.diff() > 0).all())
        for place, values in zip(layer.rows.tolist(), layer.values.numpy(), strict=True):
            found[int(batch.sample_uid[place])][name] = content(values)
    return found


def rows_of_cohort(cohort):
    uids = cohort.sample_uid.tolist()
    expected = {uid: {} for uid in uids}
    for name, layer in cohort.layers.items():
        for row, values in zip(layer.rows.tolist(), layer.values, strict=True):
            expected[uids[row]][name] = content(values)
    return expected


def merged(parts):
    together = {}
    for part in parts:
        assert not together.keys() & part.keys()
        together |= part
    return together


@st.composite
def sources(draw):
    """Arguments of a small cohort's shards and of a source over them."""
    num_samples = draw(st.integers(1, 60), label="samples")
    shards = {
        "group_rows": draw(st.integers(1, 7), label="rows of a group"),
        "rows_per_shard": draw(st.integers(1, 30), label="rows of a shard"),
        "dtype": draw(st.sampled_from(["float32", "float16"])),
    }
    source = {
        "batch_size": draw(st.integers(1, 20), label="batch size"),
        "seed": draw(st.integers(0, 2**63 - 1), label="seed"),
        "memory_bytes": draw(st.sampled_from([1, 600, 2000, 10**6]), label="memory"),
        "balance": draw(st.sampled_from(["none", "pattern"])),
    }
    return draw(st.integers(0, 10**6), label="cohort"), num_samples, shards, source


@settings(max_examples=NUM_EXAMPLES)
@given(arguments=sources(), world_size=st.integers(1, 8), data=st.data())
def test_any_number_of_processes_makes_the_same_batches(
    new_cohort, write, arguments, world_size, data
):
    seed, num_samples, shards, options = arguments
    folder = write(new_cohort(seed, num_samples), **shards)
    index, cohort = open_shards(folder), read_shards(folder).cohort
    places = data.draw(st.sets(st.integers(0, num_samples - 1), min_size=1), label="places")
    chosen = sorted(places)

    whole = StreamSource(index, chosen, **options)
    alone = [rows_of(batch) for batch in whole.epoch(1)]
    parts = [
        [
            rows_of(batch)
            for batch in StreamSource(
                index, chosen, rank=rank, world_size=world_size, **options
            ).epoch(1)
        ]
        for rank in range(world_size)
    ]

    assert merged(alone) == rows_of_cohort(cohort.take(chosen))
    assert len(alone) == whole.num_batches
    assert all(len(batch) == options["batch_size"] for batch in alone[:-1])
    assert [merged(batch) for batch in zip(*parts, strict=True)] == alone


@settings(max_examples=NUM_EXAMPLES)
@given(arguments=sources(), rank=st.integers(0, 1), data=st.data())
def test_from_any_batch_the_epoch_goes_on_as_it_would_have(
    new_cohort, write, arguments, rank, data
):
    seed, num_samples, shards, options = arguments
    index = open_shards(write(new_cohort(seed, num_samples), **shards))
    source = StreamSource(index, rank=rank, world_size=2, **options)
    start = data.draw(st.integers(0, source.num_batches), label="start")
    whole = list(source.epoch(3))
    rest = list(StreamSource(index, rank=rank, world_size=2, **options).epoch(3, start))
    assert len(whole) == source.num_batches
    for one, other in zip(whole[start:], rest, strict=True):
        assert torch.equal(one.sample_uid, other.sample_uid)
        assert rows_of(one) == rows_of(other)
    # Batches are kept here while others are made: memory in use is not used again.
    assert merged(map(rows_of, whole)).keys() <= set(index.sample_uid.tolist())


def test_epochs_and_seeds_have_orders_of_their_own(new_cohort, write):
    index = open_shards(write(new_cohort(num_samples=60)))

    def order(seed, epoch):
        source = StreamSource(index, batch_size=7, seed=seed, memory_bytes=1000)
        return [uid for batch in source.epoch(epoch) for uid in batch.sample_uid.tolist()]

    orders = [order(0, 0), order(0, 1), order(1, 0)]
    assert orders[0] == order(0, 0)
    assert len({tuple(found) for found in orders}) == 3


def test_processes_read_row_groups_of_their_own(new_cohort, write):
    index = open_shards(write(new_cohort(num_samples=60)))
    group = dict(
        zip(
            index.sample_uid.tolist(),
            np.searchsorted(index.first_samples, np.arange(60), side="right"),
            strict=True,
        )
    )
    read = [
        {
            group[uid]
            for batch in StreamSource(
                index, batch_size=9, seed=0, memory_bytes=5000, rank=rank, world_size=3
            ).epoch(0)
            for uid in batch.sample_uid.tolist()
        }
        for rank in range(3)
    ]
    assert set.union(*read) == set(group.values())
    assert sum(map(len, read)) == len(set(group.values()))


def test_values_read_again_are_the_same(new_cohort, write):
    """The first epoch verifies whole chunks, later ones read rows alone."""
    folder = write(new_cohort(num_samples=60))
    index = open_shards(folder)
    chosen = np.arange(0, 60, 3)
    source = StreamSource(index, chosen, batch_size=8, seed=0, memory_bytes=1500)
    expected = rows_of_cohort(read_shards(folder).cohort.take(chosen))
    for epoch in range(3):
        assert merged(map(rows_of, source.epoch(epoch))) == expected


@pytest.fixture(params=["mapped", "read"])
def route(request, monkeypatch):
    """Whether shards can be mapped; on a file system or a system without it they are read."""
    if request.param == "read":
        monkeypatch.setattr(mapped, "_map", lambda path: None)
    elif not Path("/proc/self/smaps").exists():
        pytest.skip("nothing can be mapped here")
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("gap", [1, 50, 10**6])
def test_rows_are_found_over_gaps_of_any_size(new_cohort, write, monkeypatch, route, gap, dtype):
    monkeypatch.setattr(groups, "_GAP_BYTES", gap)
    folder = write(new_cohort(num_samples=60), group_rows=12, dtype=dtype)
    chosen = np.flatnonzero(np.random.default_rng(gap).random(60) < 0.5)
    index = open_shards(folder)
    source = StreamSource(index, chosen, batch_size=8, seed=0, memory_bytes=1500)
    expected = rows_of_cohort(read_shards(folder).cohort.take(chosen))
    for epoch in range(3):
        assert merged(map(rows_of, source.epoch(epoch))) == expected
    assert rows_of_cohort(read_samples(index, chosen)) == expected


def test_several_batches_are_put_together_at_once(new_cohort, write, route):
    folder = write(new_cohort(num_samples=200), group_rows=20)
    index = open_shards(folder)
    source = StreamSource(index, batch_size=3, seed=0, memory_bytes=10**6)
    one = StreamSource(index, batch_size=3, seed=0, memory_bytes=10**6)
    assert source._batches_at_once > 1
    one._batches_at_once = 1
    for start in (0, 5):
        found = [rows_of(batch) for batch in source.epoch(2, start)]
        assert found == [rows_of(batch) for batch in one.epoch(2, start)]


def test_a_system_that_brings_nothing_in_is_read_from(new_cohort, write, monkeypatch):
    """As before Linux 5.14; later on, as a disk that fails."""
    folder = write(new_cohort(num_samples=60))
    source = StreamSource(open_shards(folder), batch_size=8, seed=0, memory_bytes=1500)
    expected = rows_of_cohort(read_shards(folder).cohort)
    asked = []
    for epoch in range(2):
        assert merged(map(rows_of, source.epoch(epoch))) == expected
        monkeypatch.setattr(mapped, "_advise", lambda *_: asked.append(_) or -1)
    assert asked


def test_a_lack_of_memory_is_not_blamed_on_a_shard(new_cohort, write, monkeypatch):
    source = StreamSource(
        open_shards(write(new_cohort(num_samples=6))), batch_size=2, seed=0, memory_bytes=1
    )
    monkeypatch.setattr(mapped, "_map", lambda path: None)

    def refuse(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(opened.mmap, "mmap", refuse)
    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        next(source.epoch(0))
    assert not isinstance(caught.value, ShardError)


def test_a_shard_cut_short_after_it_was_verified_is_named(new_cohort, write, route):
    index = open_shards(write(new_cohort(1, num_samples=30)))
    source = StreamSource(index, batch_size=4, seed=0, memory_bytes=300)
    list(source.epoch(0))
    path = index.groups[0].path
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        ShardError, match=r"row group \d+, column 'x_layer\d': damaged: the file ends"
    ):
        list(source.epoch(1))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no list of mappings here")
def test_mapped_shards_take_no_more_memory_than_their_windows(new_cohort, write):
    """What a window held goes back to the system with it, and the rest with the epoch."""

    def mapped_bytes():
        total, is_shard = 0, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            head = line.split()
            if "-" in head[0]:
                is_shard = len(head) > 5 and head[5].endswith(".parquet")
            elif is_shard and head[0] == "Rss:":
                total += 1024 * int(head[1])
        return total

    index = open_shards(
        write(new_cohort(num_samples=1500, widths=(5000, 4000)), group_rows=50, rows_per_shard=300)
    )
    memory_bytes = 2_500_000
    source = StreamSource(index, batch_size=4, seed=0, memory_bytes=memory_bytes)
    assert index.value_bytes > 4 * memory_bytes
    for epoch in range(2):
        peak = max(mapped_bytes() for _ in source.epoch(epoch))
        # The system brings in what is around a page, up to 64 KB.
        assert source.window_bytes < peak < 1.5 * memory_bytes
        assert not mapped_bytes()


def test_shards_of_an_older_program_are_streamed():
    folder = Path(__file__).parents[3] / "golden" / "shards-v1"
    index, cohort = open_shards(folder), read_shards(folder).cohort
    assert not any(chunk.is_plain for group in index.groups for chunk in group.chunks.values())
    source = StreamSource(index, batch_size=2, seed=0, memory_bytes=1)
    for epoch in range(2):
        assert merged(map(rows_of, source.epoch(epoch))) == rows_of_cohort(cohort)


@settings(max_examples=NUM_EXAMPLES)
@given(arguments=sources(), data=st.data())
def test_some_samples_are_read_as_they_are(new_cohort, write, arguments, data):
    seed, num_samples, shards, _ = arguments
    folder = write(new_cohort(seed, num_samples), **shards)
    chosen = sorted(data.draw(st.sets(st.integers(0, num_samples - 1), min_size=1)))
    found, expected = read_samples(open_shards(folder), chosen), read_shards(folder).cohort
    expected = expected.take(chosen)
    assert rows_of_cohort(found) == rows_of_cohort(expected)
    assert found.samples.equals(expected.samples)
    assert found.split.tolist() == expected.split.tolist()
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name].scale, layer.scale)
        assert found.layers[name].features == layer.features


def test_a_balanced_batch_has_its_share_of_each_pattern(new_cohort, write):
    index = open_shards(write(new_cohort(3, num_samples=400), rows_per_shard=100))
    measured = dict(zip(index.sample_uid.tolist(), index.measured().tolist(), strict=True))
    kinds, counts = np.unique(index.measured(), axis=0, return_counts=True)
    source = StreamSource(index, batch_size=80, seed=0, memory_bytes=10**6, balance="pattern")
    for batch in source.epoch(0):
        held = [measured[uid] for uid in batch.sample_uid.tolist()]
        for kind, count in zip(kinds.tolist(), counts, strict=True):
            # Eight lanes, each within one of its share at both ends of the batch.
            assert abs(held.count(kind) - 80 * count / 400) <= 8


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def streams():
    return [thread for thread in threading.enumerate() if thread.name == "immo-stream"]


def test_nothing_is_left_of_an_epoch_that_is_not_finished(new_cohort, write):
    index = open_shards(write(new_cohort(num_samples=60)))
    source = StreamSource(index, batch_size=3, seed=0, memory_bytes=500)
    before = descriptors()
    batches = source.epoch(0)
    next(batches)
    assert streams()
    batches.close()
    assert not streams()
    assert descriptors() == before
    for _ in source.epoch(0):
        pass
    assert not streams()
    assert descriptors() == before


def test_memory_goes_round():
    memory = Memory(pin=False)
    memory.expect(4000)
    first = memory.matrices({"mg": (4, 5), "mt": (0, 7), "mb": (3, 1)})
    assert [matrix.shape for matrix in first.values()] == [(4, 5), (0, 7), (3, 1)]
    assert all(matrix.ctypes.data % 64 == 0 for matrix in first.values() if matrix.size)
    address = first["mg"].ctypes.data
    rows = torch.from_numpy(first["mg"])[1:3]
    del first
    gc.collect()
    assert memory.matrices({"mg": (4, 5)})["mg"].ctypes.data != address
    rows_of_others = memory.matrices({"mg": (4, 5)})
    del rows
    assert memory.matrices({"mg": (900, 1)})["mg"].ctypes.data == address
    del rows_of_others


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"places": []}, "found 0 samples"),
        ({"places": [1, 1]}, "named twice"),
        ({"rank": 2, "world_size": 2}, "process 2 of 2"),
        ({"world_size": 9}, "at most 8 processes"),
    ],
)
def test_wrong_arguments_are_refused(new_cohort, write, options, message):
    index = open_shards(write(new_cohort(num_samples=6)))
    with pytest.raises(UsageError, match=message):
        StreamSource(index, **{"batch_size": 2, "seed": 0, "memory_bytes": 1} | options)


def test_a_batch_that_is_not_there_is_refused(new_cohort, write):
    source = StreamSource(
        open_shards(write(new_cohort(num_samples=6))), batch_size=2, seed=0, memory_bytes=1
    )
    with pytest.raises(UsageError, match="batch 4 to start at: expected 0 to 3"):
        next(source.epoch(0, start=4))


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_on_the_cpu(new_cohort, write):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    index = open_shards(write(new_cohort(num_samples=60)))
    options = {"batch_size": 7, "seed": 0, "memory_bytes": 1500}
    here = StreamSource(index, **options)
    there = StreamSource(index, device="cuda", **options)
    for epoch in range(3):
        for one, other in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
            assert rows_of(one) == rows_of(other.to("cpu"))
