"""A real Slurm on this machine, and small trainings for it.

`make test-cluster` brings the cluster up (up.sh), runs the tests marked ``cluster`` and takes it
down again.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster_tools import IMMO, Cluster, Job, command, model_hash

# Small steps, and no early stop: every run of a configuration takes the same epochs. What is
# fitted after a training is left out.
SETTINGS = {
    "model": {"latent_dim": 16},
    "train": {
        "epochs": 250,
        "patience": 250,
        "checkpoint_epochs": 5,
        "num_threads": 1,
        "companion": False,
    },
}


@pytest.fixture(scope="session")
def cluster():
    """The cluster that `make test-cluster` has brought up."""
    if "SLURM_CONF" not in os.environ:
        pytest.skip("no test cluster: run `make test-cluster`")
    command("sinfo")
    return Cluster()


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Shards of a small simulated cohort."""
    folder = tmp_path_factory.mktemp("cohort")
    command(IMMO, "simulate", folder / "cohort", "--subjects", "16", "--seed", "1")
    command(IMMO, "prepare", folder / "cohort", folder / "shards")
    return folder / "shards"


@pytest.fixture
def configs(tmp_path):
    """A function that writes one configuration a name, each with its own seed, into a folder."""

    def write(names):
        folder = tmp_path / "configs"
        folder.mkdir()
        for seed, name in enumerate(names):
            text = json.dumps({"seed": seed, **SETTINGS})
            (folder / f"{name}.yaml").write_text(text)
        return folder

    return write


@pytest.fixture
def profile(tmp_path):
    """A function that writes a profile for the cluster, two tasks a node, and gives its path."""

    def write(**values):
        path = tmp_path / "profile.yaml"
        common = {"executor": "slurm", "partition": "batch", "cpus": 2, "memory_gb": 2}
        path.write_text(json.dumps({**common, "signal_lead_s": 30, "time_min": 2, **values}))
        return path

    return write


@pytest.fixture
def undisturbed(shards, tmp_path):
    """A function that trains each configuration of a folder in one go: model hashes by name."""

    def train_all(folder):
        def train(config):
            run = tmp_path / "undisturbed" / config.stem
            command(IMMO, "train", shards, run, "--config", config)
            return config.stem, model_hash(run)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return dict(pool.map(train, sorted(folder.glob("*.yaml"))))

    return train_all


@pytest.fixture
def job(cluster, tmp_path):
    """A job still to be submitted; what is left of it is cancelled."""
    job = Job(tmp_path / "runs")
    yield job
    if job.folder.exists():
        job.immo("cancel", job.folder)
