"""An interrupted and resumed training equals the uninterrupted one, bit for bit."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from immo_hpc.errors import InterruptedRun, RunError
from immo_hpc.train import RunFolder, load_model, train
from immo_hpc.train.checkpoint import list_checkpoints, read_checkpoint, write_checkpoint
from immo_hpc.train.device import own_randomness, threads
from immo_hpc.train.metrics import read_metrics
from immo_hpc.train.run import create_run
from immo_hpc.train.trainer import Trainer

CPU = torch.device("cpu")
STEPS = 4  # an epoch of 30 training samples in batches of 8


def without_seconds(records):
    timed = {"seconds", "waiting_s"}
    return [{k: v for k, v in r.to_dict().items() if k not in timed} for r in records]


def assert_same_weights(model, expected):
    for name, tensor in expected.state_dict().items():
        assert_close(model.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def assert_same(training, expected):
    assert without_seconds(training.records) == without_seconds(expected.records)
    assert training.best_epoch == expected.best_epoch
    assert_same_weights(training.model, expected.model)


def advance(trainer, num_steps):
    """Do steps, ending epochs on the way, as the loop does."""
    while num_steps > 0:
        for _ in trainer.steps():
            num_steps -= 1
            if num_steps == 0:
                return
        trainer.finish_epoch()


def finish(trainer):
    while not trainer.is_over:
        for _ in trainer.steps():
            pass
        trainer.finish_epoch()


@pytest.fixture
def run(tmp_path, new_config):
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "manifest.json").write_text("{}")
    folder = RunFolder(tmp_path / "run")
    create_run(folder, new_config(), shards=shards, preparation={}, device=CPU)
    return folder


@pytest.mark.parametrize("num_steps", [0, 1, 3, 4, 5, 8, 11, 15])
def test_from_any_step(cohort, new_config, tmp_path, num_steps):
    config = new_config()
    expected = train(cohort, config)
    assert expected.records[0].steps == STEPS
    with threads(config.train.num_threads), own_randomness(config.seed, CPU):
        first = Trainer(cohort, config, CPU)
        advance(first, num_steps)
        path = write_checkpoint(tmp_path, first.checkpoint())
    with threads(config.train.num_threads), own_randomness(99, CPU):
        second = Trainer(cohort, config, CPU)
        second.restore(read_checkpoint(path))
        finish(second)

    assert without_seconds(second.records) == without_seconds(expected.records)
    assert_same_weights(second.best_model(), expected.model)


def test_signal_stops_after_a_checkpoint_and_the_run_goes_on(cohort, new_config, run):
    config = new_config(checkpoint_epochs=100)
    expected = train(cohort, config)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        with pytest.raises(InterruptedRun, match=f"{number.name}.*--resume"):
            train(cohort, config, run=run, on_epoch=lambda _, n=number: signal.raise_signal(n))
        (newest,) = list_checkpoints(run.checkpoints)[-1:]
        assert read_checkpoint(newest).step == 1
    finished = train(cohort, config, run=run)

    assert_same(finished, expected)
    assert without_seconds(read_metrics(run.metrics)) == without_seconds(expected.records)
    assert_same_weights(load_model(run.path).model, expected.model)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_metrics_beyond_the_checkpoint_are_dropped(cohort, new_config, run):
    config = new_config(epochs=5, checkpoint_epochs=2)
    expected = train(cohort, config)

    class Killed(BaseException):
        pass

    def kill(record):
        if record.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        train(cohort, config, run=run, on_epoch=kill)
    assert len(read_metrics(run.metrics)) == 3
    with run.metrics.open("a") as file:
        file.write('{"epoch": 3, "lo')
    seen = []
    finished = train(cohort, config, run=run, on_epoch=seen.append)

    assert [record.epoch for record in seen] == [2, 3, 4]
    assert_same(finished, expected)
    assert without_seconds(read_metrics(run.metrics)) == without_seconds(expected.records)


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(cohort, new_config, run, damage):
    config = new_config(epochs=5, checkpoint_epochs=1)
    expected = train(cohort, config)

    def stop(record):
        if record.epoch == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(InterruptedRun):
        train(cohort, config, run=run, on_epoch=stop)
    before, newest = list_checkpoints(run.checkpoints)
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    size = {"truncated": len(content) // 2, "altered": len(content), "empty": 0}[damage]
    newest.write_bytes(content[:size])

    finished = train(cohort, config, run=run)

    assert_same(finished, expected)
    assert any(newest.name in n and before.name in n for n in finished.notices)


def test_no_readable_checkpoint_is_an_error(cohort, new_config, run):
    config = new_config(epochs=2, checkpoint_epochs=1)
    train(cohort, config, run=run)
    for path in list_checkpoints(run.checkpoints):
        path.write_bytes(b"x")
    with pytest.raises(RunError, match="none of 2 checkpoints can be read"):
        train(cohort, config, run=run)


def test_two_checkpoints_are_kept_and_leftovers_removed(cohort, new_config, run):
    left = run.checkpoints / ".0a1b2c.epoch-000001-step-00000000.safetensors"
    left.write_bytes(b"half")
    train(cohort, new_config(checkpoint_epochs=1), run=run)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "epoch-000003-step-00000000.safetensors",
        "epoch-000004-step-00000000.safetensors",
    ]


def test_checkpoints_come_by_the_clock_inside_an_epoch(cohort, new_config, run):
    config = new_config(epochs=1, checkpoint_min=1e-9)
    train(cohort, config, run=run)
    first, last = (read_checkpoint(path) for path in list_checkpoints(run.checkpoints))
    assert (first.epoch, first.step, first.is_over) == (0, STEPS, False)
    assert (last.epoch, last.step, last.is_over) == (1, 0, True)


CHILD = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from conftest import make_cohort, make_config
    from immo_hpc.errors import InterruptedRun
    from immo_hpc.train import RunFolder, train
    print("ready", flush=True)
    try:
        train(
            make_cohort(400),
            make_config(epochs=30, checkpoint_epochs=1, checkpoint_min=0.002),
            run=RunFolder(Path(sys.argv[2])),
            on_epoch=lambda record: print(record.epoch, flush=True),
        )
    except InterruptedRun:
        sys.exit(75)
"""


def test_a_killed_process_resumes_to_the_same_result(new_cohort, new_config, run):
    """SIGKILL at random moments, then SIGTERM, then to the end."""
    expected = train(new_cohort(400), new_config(epochs=30))
    draw = np.random.default_rng(0)
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", textwrap.dedent(CHILD), here, str(run.path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, None):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            for _ in range(3):  # ready, and two epochs, so that each attempt gets further
                process.stdout.readline()
            if number is not None:
                time.sleep(draw.uniform(0, 0.2))
                process.send_signal(number)
            process.stdout.read()
            code = process.wait(timeout=120)
        assert code == {signal.SIGKILL: -9, signal.SIGTERM: 75, None: 0}[number]
        assert run.is_finished == (number is None)

    assert without_seconds(read_metrics(run.metrics)) == without_seconds(expected.records)
    assert_same_weights(load_model(run.path).model, expected.model)
