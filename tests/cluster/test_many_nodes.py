"""One training on two nodes, then four, then one: the curve of one that never moved."""

import json

import pytest
from cluster_tools import IMMO, Job, command
from freezer import Freezer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

# Sums over rows are added in another order (docs/adr/0016-shared-trainings.md): 5e-7 was seen.
EPOCHS, TOLERANCE = 12, 2e-5


def curve(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows]


def test_grown_and_shrunk_between_attempts(cluster, shards, configs, profile, tmp_path):
    config = configs(["run"]) / "run.yaml"
    values = json.loads(config.read_text())
    shorter = {**values["train"], "epochs": EPOCHS, "patience": EPOCHS, "checkpoint_epochs": 2}
    config.write_text(json.dumps({**values, "train": shorter}))
    alone = tmp_path / "alone"
    command(IMMO, "train", shards, alone, "--config", config)

    run = tmp_path / "run"
    for num_nodes in (2, 4, 1):
        job = Job(tmp_path, folder=tmp_path / f"on-{num_nodes}.jobs")
        place = profile(nodes=num_nodes, memory_gb=1, cpus=1, time_min=5)
        words = (shards, run, "--config", config, "--profile", place, "--jobs", job.folder)
        job.immo("submit", "train", *words)
        if num_nodes > 1:
            with Freezer(job, ["run"]) as freezer:
                stop = "was cancelled after a checkpoint"
                freezer.disturb("run", lambda pid, job=job: job.immo("cancel", job.folder), stop)
            assert freezer.most_at_once["run"] == num_nodes
        rows = job.wait_until_over(300)

    assert rows["run"]["state"] == "finished"
    assert curve(run) == pytest.approx(curve(alone), rel=TOLERANCE)
