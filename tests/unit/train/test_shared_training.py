"""Several gloo processes train the model that one process trains."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from immo_hpc.config import ImmoConfig
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.shards import layout, write_shards
from immo_hpc.data.stream import open_shards
from immo_hpc.train import RunFolder, load_model, read_metrics, train, train_run

HERE = Path(__file__).parent
# Sums over rows are added in another order: some 1e-6 after four epochs.
LOSS_TOLERANCE = 2e-5
WEIGHT_TOLERANCE = 1e-4
TINY_GB = 8e-6

CASES = {
    "plain": {},
    "deep": {"model": {"encoder_dims": [6, 5], "decoder_dims": [7, 4]}},
    "kept": {"loss": {"scope": "kept"}, "mask": {"layers": {"p0": 0.5}}},
    "dropped": {
        "loss": {"scope": "dropped", "normalizer": "size", "weights": {"mg": 2.0, "mt": 0.0}}
    },
    "all layers shown": {"mask": {"layers": {"p0": 1.0}}, "train": {"balance": "pattern"}},
    "streamed": {"train": {"memory_gb": TINY_GB}},
}

CHILD = """
import json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import make_cohort
from immo_hpc.config import ImmoConfig
from immo_hpc.data.stream import open_shards
from immo_hpc.errors import InterruptedRun, TrainingError
from immo_hpc.train import save_model, train, train_run
from immo_hpc.train.distributed import joined

asked, out = json.loads(sys.argv[2]), Path(sys.argv[3])
shards = out / "shards"


def keep(name, training):
    if group.is_first:
        (out / name).mkdir()
        records = [record.to_dict() for record in training.records]
        (out / name / "records.json").write_text(json.dumps(records))
        save_model(out / name, training.model, {}, make_cohort(5).roles)


def cohort_of(name):
    return open_shards(shards) if name == "streamed" else make_cohort(60)


def stop_by_signal(record):
    # Of the last process alone: all must hear of it.
    if record.epoch == 1 and group.rank == group.world_size - 1:
        signal.raise_signal(signal.SIGTERM)


def die(record):
    if group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)


with joined() as group:
    for name, values in asked["cases"].items():
        keep(name, train(cohort_of(name), ImmoConfig.model_validate(values), group=group))
    for name, values in asked["runs"].items():
        config = ImmoConfig.model_validate(values)
        train_run(shards, out / name, config, group=group, resume=asked["resume"])
    if asked["interrupted"]:
        name, values = asked["interrupted"]
        config = ImmoConfig.model_validate(values)
        try:
            train_run(shards, out / name, config, group=group, on_epoch=stop_by_signal)
        except InterruptedRun as error:
            group.barrier()
            if group.is_first:
                (out / "said").write_text(str(error))
                for copy in ("for-four", "for-one"):
                    shutil.copytree(out / name, out / copy)
            group.barrier()
        train_run(shards, out / name, config, group=group, resume=True)
        cohort = make_cohort(60)
        cohort.layers["mb"].values[7, 2] = 1e30
        try:
            train(cohort, config, group=group)
        except TrainingError as error:
            (out / f"non-finite-{group.rank}").write_text(str(error))
        train(make_cohort(60), config, group=group, on_epoch=die)
"""


def settled(**sections):
    """The configuration of a case as plain values, over that of the other tests."""
    base = {
        "seed": 3,
        "model": {"latent_dim": 4, "encoder_dims": [6], "decoder_dims": [7], "dropout": 0.3},
        "train": {"epochs": 4, "batch_size": 16, "device": "cpu", "num_threads": 1},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section}
    return ImmoConfig.model_validate(base).model_dump(mode="json")


def together(num_processes, script, *words, **environment):
    """Start a script as several processes; they are ended with the block."""
    return Processes(num_processes, script, words, environment)


class Processes:
    def __init__(self, num_processes, script, words, environment):
        port = free_port()
        self.children = [
            subprocess.Popen(
                [sys.executable, "-c", script, *map(str, words)],
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "TORCH_CPP_LOG_LEVEL": "ERROR",
                    "RANK": str(rank),
                    "WORLD_SIZE": str(num_processes),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    **environment,
                },
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(num_processes)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.kill()
            child.wait()
            child.stderr.close()

    def end_of(self, rank, seconds=120):
        """Exit code of a process and what it said."""
        _, said = self.children[rank].communicate(timeout=seconds)
        return self.children[rank].returncode, said


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def without_seconds(records):
    rows = [json.loads(json.dumps(record)) for record in records]
    timed = {"seconds", "waiting_s"}
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def assert_near(records, weights, expected):
    """Figures and weights within the stated rounding of ``expected``, a training."""
    rows = [pd.json_normalize(row).iloc[0].astype(float) for row in without_seconds(records)]
    wanted = [record.to_dict() for record in expected.records]
    assert len(rows) == len(wanted)
    for row, other in zip(rows, without_seconds(wanted), strict=True):
        other = pd.json_normalize(other).iloc[0].astype(float)
        assert row.to_dict() == pytest.approx(other.to_dict(), rel=LOSS_TOLERANCE, nan_ok=True)
    for name, tensor in expected.model.state_dict().items():
        assert_close(weights[name], tensor, rtol=1e-3, atol=WEIGHT_TOLERANCE, msg=name)


def assert_same_run(one, other):
    """Two runs of the same bits."""
    rows = [
        without_seconds([record.to_dict() for record in read_metrics(RunFolder(run).metrics)])
        for run in (one, other)
    ]
    assert rows[0] == rows[1]
    weights = load_model(other).model.state_dict()
    for name, tensor in load_model(one).model.state_dict().items():
        assert_close(tensor, weights[name], rtol=0, atol=0, msg=name)


@pytest.fixture(scope="module")
def make_cohort():
    sys.path.insert(0, str(HERE))
    try:
        from conftest import make_cohort
    finally:
        sys.path.remove(str(HERE))
    return make_cohort


@pytest.fixture(scope="module")
def shards(make_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "GROUP_BYTES", 8 * 16 * 4)
        write_shards(make_cohort(120), Preparation({}), folder, rows_per_shard=64)
    return folder


@pytest.fixture(scope="module")
def by_two(shards):
    """What two processes made: all cases, a run, and one that was interrupted and went on."""
    out = shards.parent
    asked = {
        "cases": {name: settled(**case) for name, case in CASES.items()},
        "runs": {"undisturbed": settled()},
        "resume": False,
        "interrupted": ["interrupted", settled()],
    }
    with together(2, CHILD, HERE, json.dumps(asked), out) as processes:
        code, said = processes.end_of(0)
        killed, _ = processes.end_of(1)
    assert killed == -signal.SIGKILL, said
    assert code == 1
    return out, said


@pytest.fixture(scope="module")
def by_four(by_two):
    """The interrupted run of two, gone on with by four, and a case."""
    out, _ = by_two
    cases = {"kept by 4": settled(**CASES["kept"])}
    asked = {"cases": cases, "runs": {"for-four": settled()}, "resume": True, "interrupted": None}
    with together(4, CHILD, HERE, json.dumps(asked), out) as processes:
        for rank in range(4):
            code, said = processes.end_of(rank)
            assert code == 0, said
    return out


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_does(by_two, shards, make_cohort, name):
    out, _ = by_two
    cohort = open_shards(shards) if name == "streamed" else make_cohort(60)
    expected = train(cohort, ImmoConfig.model_validate(settled(**CASES[name])))
    records = json.loads((out / name / "records.json").read_text())
    assert_near(records, load_file(out / name / "model.safetensors"), expected)


def test_four_processes_train_what_one_does(by_four, make_cohort):
    expected = train(make_cohort(60), ImmoConfig.model_validate(settled(**CASES["kept"])))
    folder = by_four / "kept by 4"
    records = json.loads((folder / "records.json").read_text())
    assert_near(records, load_file(folder / "model.safetensors"), expected)


def test_a_signal_to_one_process_stops_all_and_the_run_goes_on_to_the_same_bits(by_two):
    out, _ = by_two
    assert "stopped on SIGTERM in epoch 2 after 1 of" in (out / "said").read_text()
    assert_same_run(out / "interrupted", out / "undisturbed")


def test_a_run_goes_on_with_more_processes(by_four, shards, tmp_path):
    expected = train_run(shards, tmp_path / "run", ImmoConfig.model_validate(settled()))
    run = RunFolder(by_four / "for-four")
    records = [record.to_dict() for record in read_metrics(run.metrics)]
    assert_near(records, load_file(run.weights), expected)


def test_a_run_goes_on_with_one_process(by_two, shards, tmp_path):
    out, _ = by_two
    expected = train_run(shards, tmp_path / "whole", ImmoConfig.model_validate(settled()))
    training = train_run(shards, out / "for-one", resume=True)
    assert any("resumed in epoch 2 after 1" in notice for notice in training.notices)
    records = [record.to_dict() for record in training.records]
    assert_near(records, training.model.state_dict(), expected)


def test_a_loss_that_is_not_finite_is_explained_alike_on_all(by_two):
    out, _ = by_two
    texts = [(out / f"non-finite-{rank}").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1]
    assert "1 of 6 features ('mb_2') hold infinite or huge values" in texts[0]


def test_the_others_end_when_one_is_killed(by_two):
    _, said = by_two
    assert "LostProcess: process 0 of 2 cannot reach another one" in said


FAILING = """
import os, signal, sys
from immo_hpc.errors import ShardError
from immo_hpc.train.distributed import joined

with joined() as group:
    assert [group.rank, group.on_first(lambda: "first")] == [group.rank, "first"]
    assert group.texts(f"ü{group.rank}" * group.rank) == ["", "ü1"]
    if group.rank == 1 and sys.argv[1] == "fails":
        raise ShardError("shard 00002.parquet is damaged")
    if group.rank == 1 and sys.argv[1] == "falls silent":
        os.kill(os.getpid(), signal.SIGSTOP)
    group.barrier()
"""


def test_the_others_end_with_the_message_of_one_that_fails():
    with together(2, FAILING, "fails") as processes:
        code, said = processes.end_of(0)
        other, own = processes.end_of(1)
    assert (code, other) == (1, 1)
    assert "TrainingError: process 1 of 2 failed: shard 00002.parquet is damaged" in said
    assert "ShardError: shard 00002.parquet is damaged" in own


def test_the_others_end_when_one_falls_silent():
    began = time.monotonic()
    with together(2, FAILING, "falls silent", IMMO_LOST_AFTER_S="2") as processes:
        code, said = processes.end_of(0)
    assert code == 3
    assert "error: process 1 of 2 gave no sign of life for 2 s; its machine may be lost" in said
    assert time.monotonic() - began < 60


def test_processes_that_do_not_come_are_told():
    with together(2, FAILING, "", IMMO_JOIN_S="1.5") as processes:
        processes.children[1].kill()
        code, said = processes.end_of(0)
    assert code == 1
    assert "TrainingError: process 0 of 2 could not meet the others at 127.0.0.1:" in said
    assert "within 2 s" in said
