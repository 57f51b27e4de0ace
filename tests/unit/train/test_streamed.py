"""Training on shards that exceed the memory given: the same guarantees as in memory."""

import signal
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.testing import assert_close

from immo_hpc.data.preparation import Preparation
from immo_hpc.data.shards import layout, write_shards
from immo_hpc.data.stream import open_shards
from immo_hpc.errors import InterruptedRun, RunError, ShardError, TrainingError
from immo_hpc.train import RunFolder, load_model, read_metrics, train, train_run
from immo_hpc.train.samples import held_out_samples

# Of 40 kB of values; windows of a few row groups of 8 samples.
TINY_GB = 8e-6

pytestmark = pytest.mark.usefixtures("no_fsync")


def write(cohort, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "GROUP_BYTES", 8 * 16 * 4)
        write_shards(cohort, Preparation({}), folder, rows_per_shard=64)
    return folder


@pytest.fixture
def shards(new_cohort, tmp_path):
    return write(new_cohort(400), tmp_path / "shards")


def without_seconds(records):
    return [replace(record, seconds=0.0, waiting_s=0.0) for record in records]


def assert_same_weights(one, other):
    for name, tensor in one.state_dict().items():
        assert_close(other.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def streams():
    return [thread for thread in threading.enumerate() if thread.name == "immo-stream"]


def test_what_exceeds_the_memory_is_streamed_and_learns_as_much(shards, tmp_path, new_config):
    streamed = train_run(shards, tmp_path / "one", new_config(memory_gb=TINY_GB, epochs=6))
    held = train_run(shards, tmp_path / "other", new_config(epochs=6))
    assert any("streamed from shards: less than 0.01 GB" in notice for notice in streamed.notices)
    assert any("held in memory: less than 0.01 of 4 GB" in notice for notice in held.notices)
    one, other = streamed.records[-1], held.records[-1]
    assert one.steps == other.steps
    assert one.loss < streamed.records[0].loss
    assert one.validation == pytest.approx(other.validation, rel=0.1)
    assert RunFolder(tmp_path / "one").read_config().train.memory_gb == TINY_GB
    assert not streams()


def test_memory_that_is_given_decides_the_run(shards, tmp_path, new_config):
    config = new_config(memory_gb=TINY_GB, epochs=2)

    def stop(record):
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train_run(shards, tmp_path / "run", config, on_epoch=stop)
    assert not streams()
    with pytest.raises(RunError, match=r"train.memory_gb was 8e-06, now 4.0"):
        train_run(shards, tmp_path / "run", new_config(epochs=2), resume=True)
    resumed = train_run(shards, tmp_path / "run", resume=True)
    expected = train(open_shards(shards), config)
    assert without_seconds(resumed.records) == without_seconds(expected.records)
    assert_same_weights(resumed.model, expected.model)


def test_held_out_samples_are_bounded_and_said(shards, new_config):
    index = open_shards(shards)
    places = index.indices("validation")
    train_config = new_config(memory_gb=TINY_GB).train
    cohort, everyone, notice = held_out_samples(index, places, train_config)
    size = sum(layer.values.nbytes for layer in cohort.layers.values())
    assert 0 < size <= 0.25 * TINY_GB * 1e9
    assert f"{len(everyone)} of {len(places)} held-out samples" in notice
    uids = np.sort(index.sample_uid[places].view(np.uint64))
    assert sorted(cohort.sample_uid.view(np.uint64)) == uids[: len(everyone)].tolist()
    cohort, everyone, notice = held_out_samples(index, places, new_config().train)
    assert len(cohort.samples) == len(everyone) == len(places)
    assert notice is None


def test_a_loss_that_is_not_finite_names_the_feature(new_cohort, new_config, tmp_path):
    cohort = new_cohort(400)
    cohort.layers["mb"].values[:, 2] = 1e30
    index = open_shards(write(cohort, tmp_path / "shards"))
    with pytest.raises(TrainingError, match=r"1 of 6 features \('mb_2'\) hold infinite or huge"):
        train(index, new_config(memory_gb=TINY_GB))
    assert not streams()


def test_a_damaged_shard_stops_the_training(shards, new_config):
    index = open_shards(shards)
    path = shards / "00002.parquet"
    content = bytearray(path.read_bytes())
    group = next(g for g in index.groups if g.path == path)
    chunk = group.chunks["mg"]
    content[chunk.offset + chunk.size - 1] ^= 4
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"00002.parquet, row group 0, column 'x_mg': damaged"):
        train(index, new_config(memory_gb=TINY_GB))


@pytest.mark.parametrize("memory_gb", [TINY_GB, 4.0])
def test_balanced_batches_train(shards, new_config, tmp_path, memory_gb):
    config = new_config(epochs=2, memory_gb=memory_gb, balance="pattern")
    training = train_run(shards, tmp_path / "run", config)
    plain = train_run(shards, tmp_path / "plain", new_config(epochs=2, memory_gb=memory_gb))
    assert len(training.records) == 2
    assert training.records[-1].loss != plain.records[-1].loss


CHILD = f"""
    from pathlib import Path
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from conftest import make_config
    from immo_hpc.train import train_run
    train_run(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        make_config(epochs=10, checkpoint_epochs=1, checkpoint_min=0.002, memory_gb=8e-6),
        resume=True,
        on_epoch=lambda record: print(record.epoch, flush=True),
    )
"""


def test_a_killed_streamed_run_resumes_to_the_same_result(shards, tmp_path, new_config, forked):
    """SIGKILL at random moments, in the middle of epochs and windows."""
    expected = train(open_shards(shards), new_config(epochs=10, memory_gb=TINY_GB))
    draw = np.random.default_rng(0)
    run = RunFolder(tmp_path / "run")
    for number in (signal.SIGKILL, signal.SIGKILL, None):
        process = forked(textwrap.dedent(CHILD), shards, run.path)
        while number is not None and len(process.said.split()) < 2:
            assert process.poll() is None, "each attempt gets two epochs further"
            time.sleep(0.005)
        if number is not None:
            time.sleep(draw.uniform(0, 0.1))
            process.send_signal(number)
        assert process.wait() == (0 if number is None else -number)
    assert without_seconds(read_metrics(run.metrics)) == without_seconds(expected.records)
    assert_same_weights(load_model(run.path).model, expected.model)
