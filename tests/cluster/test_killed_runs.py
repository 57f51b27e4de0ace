"""Trainings killed at random moments, five times each: no damaged checkpoint, the same model."""

import json
import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster_tools import IMMO, has_checkpoint, model_hash, wait_until
from safetensors import safe_open

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

NUM_RUNS, NUM_KILLS = 20, 5


def kill_at_a_random_moment(words, run, log, number, kill):
    """Start a training and kill it; odd times while it trains, else perhaps before."""
    draw = random.Random(f"{number} {kill}")
    with log.open("ab") as output, subprocess.Popen(words, stdout=output, stderr=output) as child:
        before = set(run.glob("checkpoints/*"))
        if kill % 2 and has_checkpoint(run):
            wait_until(
                lambda: child.poll() is not None or set(run.glob("checkpoints/*")) != before,
                120,
                f"{run} has trained on",
            )
            time.sleep(draw.uniform(0.0, 0.2))
        else:
            time.sleep(draw.uniform(0.3, 3.0))
        is_killed = child.poll() is None
        child.kill()
    return is_killed


def test_random_kills(shards, configs, undisturbed, tmp_path):
    config = configs(["run"]) / "run.yaml"
    values = json.loads(config.read_text())
    # Short, and a checkpoint after every epoch: most kills meet one that is being written.
    shorter = {**values["train"], "epochs": 120, "patience": 120, "checkpoint_epochs": 1}
    config.write_text(json.dumps({**values, "train": shorter}))
    expected = undisturbed(config.parent)["run"]

    def suffer(number):
        run, log = tmp_path / f"run-{number}", tmp_path / f"run-{number}.txt"
        words = [IMMO, "train", shards, run, "--config", config, "--resume"]
        killed = [
            kill_at_a_random_moment(words, run, log, number, kill) for kill in range(NUM_KILLS)
        ]
        for path in run.glob("checkpoints/epoch-*.safetensors"):
            with safe_open(path, framework="np") as file:
                assert file.metadata()
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = log.read_text() + done.stderr
        assert "damaged" not in said
        assert "Traceback" not in said
        assert model_hash(run) == expected, f"run {number}"
        leftovers = [path.name for path in run.rglob(".*")]
        return sum(killed), leftovers

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        outcomes = list(pool.map(suffer, range(NUM_RUNS)))
    # A run may be through before its last kill; most were not.
    assert sum(killed for killed, _ in outcomes) >= 0.8 * NUM_RUNS * NUM_KILLS
