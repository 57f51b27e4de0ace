"""Batches: every sample once, resumable at any batch, rows where they belong."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.batches import BatchSource, resident, whole
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.errors import UsageError


def make_cohort(seed, num_samples, widths=(3, 1, 4)):
    """Layers measured at random; some may be wholly absent, some values are missing."""
    rng = np.random.default_rng(seed)
    layers = {}
    for place, width in enumerate(widths):
        rows = np.flatnonzero(rng.random(num_samples) < rng.random())
        values = rng.standard_normal((len(rows), width)).astype(np.float32)
        values[rng.random(values.shape) < 0.2] = np.nan
        name = f"layer{place}"
        features = tuple(f"{name}.{column}" for column in range(width))
        layers[name] = PreparedLayer(name, features, values, rows, np.ones(len(rows), np.float32))
    index = pd.Index([f"sample{number}" for number in range(num_samples)], name="sample_id")
    return PreparedCohort(pd.DataFrame(index=index), layers)


def padded(batch, cohort):
    """The batch as the rectangle `PreparedCohort.wide` would give, by its rows' places."""
    blocks = []
    for name, layer in cohort.layers.items():
        block = np.full((batch.size, len(layer.features)), np.nan, dtype=np.float32)
        block[batch.layers[name].rows.numpy()] = batch.layers[name].values.numpy()
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def assert_right(given_batches, cohort, index):
    """The batches hold each sample of ``index`` once, with its own values."""
    place = {uid: number for number, uid in enumerate(cohort.sample_uid.tolist())}
    seen = [place[uid] for batch in given_batches for uid in batch.sample_uid.tolist()]
    assert sorted(seen) == sorted(index)
    values = np.concatenate([padded(batch, cohort) for batch in given_batches])
    np.testing.assert_array_equal(values, cohort.wide()[seen])
    num_rows = sum(len(layer.rows) for batch in given_batches for layer in batch.layers.values())
    assert num_rows == cohort.measured()[seen].sum()
    return seen


def assert_parts_of(parts, whole_batch):
    """The parts of all processes hold what the batch of one process holds."""
    expected = rows_by_sample([whole_batch])
    found = [rows_by_sample([part]) for part in parts]
    assert sum(map(len, found)) == len(expected)
    assert {uid: rows for part in found for uid, rows in part.items()} == expected


def rows_by_sample(given_batches):
    found = {uid: {} for batch in given_batches for uid in batch.sample_uid.tolist()}
    for batch in given_batches:
        for name, layer in batch.layers.items():
            for place, values in zip(layer.rows.tolist(), layer.values.numpy(), strict=True):
                found[int(batch.sample_uid[place])][name] = values.tobytes()
    return found


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a.sample_uid, b.sample_uid, rtol=0, atol=0)
        assert list(a.layers) == list(b.layers)
        for name in a.layers:
            for field in ("values", "rows"):
                left, right = getattr(a.layers[name], field), getattr(b.layers[name], field)
                torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True, msg=name)


cohorts = st.builds(make_cohort, seed=st.integers(0, 10**6), num_samples=st.integers(1, 23))


@settings(max_examples=40, deadline=None)
@given(cohort=cohorts, batch_size=st.integers(1, 8), epoch=st.integers(0, 5), data=st.data())
def test_every_chosen_sample_comes_once_with_its_rows(cohort, batch_size, epoch, data):
    places = range(len(cohort.samples))
    index = data.draw(st.lists(st.sampled_from(places), unique=True, min_size=1), label="index")
    source = BatchSource(cohort, index, batch_size=batch_size, seed=3)
    drawn = list(source.epoch(epoch))
    assert len(drawn) == source.num_batches
    assert [batch.size for batch in drawn[:-1]] == [batch_size] * (len(drawn) - 1)
    assert_right(drawn, cohort, index)


@settings(max_examples=30, deadline=None)
@given(cohort=cohorts, batch_size=st.integers(1, 5), block=st.sampled_from([1, 200, 2**20]))
def test_resumed_epoch_is_the_tail_of_the_whole_one(cohort, batch_size, block):
    source = BatchSource(cohort, batch_size=batch_size, seed=11)
    uninterrupted = list(source.epoch(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident, "_BLOCK_BYTES", block)
        other = BatchSource(cohort, batch_size=batch_size, seed=11)
        for start in range(source.num_batches + 1):
            assert_same(list(other.epoch(2, start=start)), uninterrupted[start:])


@settings(max_examples=30, deadline=None)
@given(cohort=cohorts, batch_size=st.integers(1, 8), data=st.data())
def test_whole_gives_samples_in_order(cohort, batch_size, data):
    order = data.draw(st.permutations(range(len(cohort.samples))), label="order")
    assert assert_right(list(whole(cohort, order, batch_size=batch_size)), cohort, order) == order
    everything = list(range(len(cohort.samples)))
    assert assert_right(list(whole(cohort)), cohort, everything) == everything


def order_of(cohort, *, seed, epoch, batch_size=7):
    source = BatchSource(cohort, batch_size=batch_size, seed=seed)
    return torch.cat([batch.sample_uid for batch in source.epoch(epoch)]).tolist()


def test_order_is_a_pure_function_of_seed_and_epoch():
    cohort = make_cohort(0, 40)
    here = order_of(cohort, seed=5, epoch=3)
    assert here == order_of(cohort, seed=5, epoch=3)
    assert here == order_of(cohort, seed=5, epoch=3, batch_size=1), "batch size changed the order"
    assert here != order_of(cohort, seed=5, epoch=4)
    assert here != order_of(cohort, seed=6, epoch=3)
    assert here != cohort.sample_uid.tolist(), "not shuffled"


def test_order_never_changes_between_versions():
    """A checkpoint of today is resumed by later versions: the order is part of the format."""
    cohort = make_cohort(0, 8)
    place = {uid: number for number, uid in enumerate(cohort.sample_uid.tolist())}
    drawn = [place[uid] for uid in order_of(cohort, seed=2**63 - 1, epoch=1)]
    assert drawn == [0, 6, 7, 3, 5, 1, 4, 2]


def test_a_layer_nobody_has_is_there_without_rows():
    cohort = make_cohort(1, 5).without("layer0")
    for batch in [*BatchSource(cohort, batch_size=1, seed=0).epoch(0), *whole(cohort)]:
        layer = batch.layers["layer0"]
        assert layer.values.shape == (0, 3)
        assert (layer.values.dtype, layer.rows.dtype) == (torch.float32, torch.int64)


def test_batches_are_not_the_cohorts_memory():
    cohort = make_cohort(2, 20)
    before = cohort.wide()
    for batch in [*BatchSource(cohort, batch_size=4, seed=0).epoch(0), *whole(cohort)]:
        for layer in batch.layers.values():
            layer.values.fill_(7.0)
    np.testing.assert_array_equal(cohort.wide(), before)


def test_read_only_values_are_taken():
    cohort = make_cohort(3, 9)
    for layer in cohort.layers.values():
        layer.values.flags.writeable = False
    assert_right(list(BatchSource(cohort, batch_size=4, seed=0).epoch(0)), cohort, range(9))


def test_to_a_device_keeps_all():
    cohort = make_cohort(4, 6)
    (batch,) = whole(cohort)
    assert_same([batch.to("cpu")], [batch])
    moved = batch.to("meta")
    assert {layer.values.device.type for layer in moved.layers.values()} == {"meta"}
    assert moved.sample_uid.device.type == moved.layers["layer0"].rows.device.type == "meta"


@pytest.mark.gpu
def test_an_epoch_never_makes_the_gpu_wait():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    cohort = make_cohort(5, 300)
    source = BatchSource(cohort, batch_size=16, seed=0, device="cuda")
    drawn = iter(source.epoch(0))
    first = next(drawn)  # the indices of the epoch are copied here
    torch.cuda.set_sync_debug_mode("error")
    try:
        rest = list(drawn)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_right([batch.to("cpu") for batch in (first, *rest)], cohort, range(300))


@pytest.mark.parametrize(("index", "batch_size"), [([], 4), (None, 0)])
def test_nothing_to_draw_is_refused(index, batch_size):
    cohort = make_cohort(6, 3)
    with pytest.raises(UsageError, match=f"batch size {batch_size}"):
        BatchSource(cohort, index, batch_size=batch_size, seed=0)
    with pytest.raises(UsageError, match="expected at least one sample"):
        next(whole(cohort, index, batch_size=batch_size))


@pytest.mark.parametrize("start", [-1, 3])
def test_a_start_outside_the_epoch_is_refused(start):
    source = BatchSource(make_cohort(7, 6), batch_size=3, seed=0)
    with pytest.raises(UsageError, match=f"batch {start} to start at: expected 0 to 2"):
        next(source.epoch(0, start=start))


@settings(max_examples=30, deadline=None)
@given(
    cohort=cohorts,
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 5),
    balance=st.sampled_from(["none", "pattern"]),
    data=st.data(),
)
def test_processes_share_every_batch(cohort, batch_size, world_size, balance, data):
    options = {"batch_size": batch_size, "seed": 5, "balance": balance}
    alone = BatchSource(cohort, **options)
    start = data.draw(st.integers(0, alone.num_batches), label="start")
    shared = [
        list(BatchSource(cohort, rank=rank, world_size=world_size, **options).epoch(2, start))
        for rank in range(world_size)
    ]
    whole_batches = list(alone.epoch(2))
    for parts, expected in zip(zip(*shared, strict=True), whole_batches[start:], strict=True):
        assert max(part.size for part in parts) - min(part.size for part in parts) <= 1
        assert_parts_of(parts, expected)
    assert_right(whole_batches, cohort, range(len(cohort.samples)))


def test_a_process_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="process 3 of 3: expected 0 to 2"):
        BatchSource(make_cohort(0, 6), batch_size=2, seed=0, rank=3, world_size=3)


def test_balanced_batches_have_their_share_of_each_pattern():
    cohort = make_cohort(3, 400)
    measured = cohort.measured()
    kinds, counts = np.unique(measured, axis=0, return_counts=True)
    place = {uid: number for number, uid in enumerate(cohort.sample_uid.tolist())}
    source = BatchSource(cohort, batch_size=80, seed=0, balance="pattern")
    orders = []
    for epoch in range(2):
        for batch in source.epoch(epoch):
            held = measured[[place[uid] for uid in batch.sample_uid.tolist()]]
            for kind, count in zip(kinds, counts, strict=True):
                # The keys where a batch begins and ends are each known to a pattern or so.
                assert abs((held == kind).all(1).sum() - 80 * count / 400) <= 3
            orders.append(batch.sample_uid.tolist())
    assert orders[:5] != orders[5:]


@pytest.mark.gpu
def test_rows_that_do_not_fit_the_gpu_are_copied_as_they_are_used(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    cohort = make_cohort(3, 40)
    resident_there = list(BatchSource(cohort, batch_size=6, seed=0, device="cuda").epoch(0))
    monkeypatch.setattr(resident, "_DEVICE_SHARE", 0.0)
    staged = list(BatchSource(cohort, batch_size=6, seed=0, device="cuda").epoch(0))
    assert_same(staged, resident_there)
