"""`train_run` on real shards: the run folder, refusals, and going on."""

import json
import signal
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from immo_hpc.config import ImmoConfig, PreparationConfig, SplitConfig, differing_keys
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import read_shards, write_shards
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.data.split import split_samples
from immo_hpc.errors import InterruptedRun, OutputError, RunError, ShardError
from immo_hpc.train import RunFolder, load_model, read_metrics, train_run


def make_shards(folder, seed=0):
    cohort = simulate_cohort(
        SimulationConfig(seed=seed, num_subjects=12, visits_mean=3, num_mg=8, num_mt=6, num_mb=7)
    ).cohort
    split = split_samples(cohort.samples, cohort.roles, SplitConfig(), seed=0)
    preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), PreparationConfig())
    prepared = replace(preparation.apply(cohort), split=split)
    write_shards(prepared, preparation, folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture
def config(new_config):
    return new_config(epochs=3)


def test_a_run_folder_holds_what_contract_6_says(shards, tmp_path, config):
    seen = []
    training = train_run(shards, tmp_path / "run", config, on_epoch=seen.append)

    run = RunFolder(tmp_path / "run")
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "model.json",
        "model.safetensors",
        "preparation.json",
        "run.json",
    ]
    assert run.is_finished
    assert run.read_config() == config
    assert run.read_preparation() == json.loads(
        json.dumps(read_shards(shards).preparation.to_dict())
    )
    assert tuple(read_metrics(run.metrics)) == training.records == tuple(seen)
    description = json.loads(run.description.read_text())
    assert description["format"] == "immo-run"
    assert description["shards"] == str(shards)
    assert description["seed"] == 3
    # As it was installed; which build of it that is stands in the environment.
    assert description["versions"]["torch"] == metadata.version("torch")
    environment = json.loads(run.environment.read_text())
    assert set(environment) >= {"python", "threads", "device"}
    assert environment["torch"] == torch.__version__
    (checkpoint,) = run.checkpoints.iterdir()  # after epoch 3 of 3, the only one due
    modes = {path.stat().st_mode for path in (checkpoint, run.weights, run.metrics)}
    assert len(modes) == 1  # as the umask says, for all


def test_the_final_model_reads_back(shards, tmp_path, config):
    training = train_run(shards, tmp_path / "run", config)
    torch.manual_seed(1)
    random = torch.get_rng_state()
    saved = load_model(tmp_path / "run")
    assert_close(torch.get_rng_state(), random, rtol=0, atol=0)
    cohort = read_shards(shards).cohort
    assert saved.features == {n: layer.features for n, layer in cohort.layers.items()}
    assert saved.roles == cohort.roles
    assert saved.best_epoch == training.best_epoch
    assert_close(dict(saved.model.state_dict()), dict(training.model.state_dict()), rtol=0, atol=0)


def test_an_existing_run_is_not_overwritten(shards, tmp_path, config):
    train_run(shards, tmp_path / "run", config)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(OutputError, match="--resume"):
        train_run(shards, tmp_path / "run", config)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_resuming_a_finished_run_returns_at_once(shards, tmp_path, config):
    first = train_run(shards, tmp_path / "run", config)
    seen = []
    again = train_run(shards, tmp_path / "run", resume=True, on_epoch=seen.append)
    assert seen == []
    assert again.records == first.records
    assert again.best_epoch == first.best_epoch
    assert "finished after 3 epochs" in again.notices[0]


def test_resume_starts_a_run_that_is_not_there(shards, tmp_path, config):
    assert len(train_run(shards, tmp_path / "new", config, resume=True).records) == 3


@pytest.fixture
def interrupted(shards, tmp_path, config):
    with pytest.raises(InterruptedRun, match="--resume"):
        train_run(
            shards,
            tmp_path / "run",
            config,
            on_epoch=lambda _: signal.raise_signal(signal.SIGTERM),
        )
    return tmp_path / "run"


def test_resume_takes_the_runs_own_configuration(shards, tmp_path, config, interrupted):
    expected = train_run(shards, tmp_path / "whole", config)
    resumed = train_run(shards, interrupted, resume=True)
    assert [r.loss for r in resumed.records] == [r.loss for r in expected.records]
    assert "resumed in epoch 1 after 1 of" in resumed.notices[-1]


def test_another_configuration_is_refused_with_what_differs(shards, config, interrupted):
    other = config.model_copy(update={"seed": 4})
    with pytest.raises(RunError, match="seed was 3, now 4"):
        train_run(shards, interrupted, other, resume=True)


def test_where_and_how_often_may_change(shards, config, interrupted):
    free = {"checkpoint_epochs": 1, "checkpoint_min": 3.0, "num_threads": 2}
    other = config.model_copy(update={"train": config.train.model_copy(update=free)})
    assert differing_keys(config, other) == {}
    assert len(train_run(shards, interrupted, other, resume=True).records) == 3


def test_other_shards_are_refused(tmp_path, config, interrupted):
    other = make_shards(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match=r"manifest of .*other is another one"):
        train_run(other, interrupted, config, resume=True)


@pytest.mark.parametrize("key", ["format_version", "mask_stream_version"])
def test_another_version_is_refused(shards, config, interrupted, key):
    path = RunFolder(interrupted).description
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, key: 99}))
    with pytest.raises(RunError, match=r"run\.json: expected .* 1, found .*99"):
        train_run(shards, interrupted, config, resume=True)


@pytest.mark.parametrize("content", [None, "", "[1]", "{"])
def test_a_folder_that_is_no_run_is_refused(shards, tmp_path, config, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    if content is not None:
        (tmp_path / "run" / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json"):
        train_run(shards, tmp_path / "run", config, resume=True)


def test_missing_shards_leave_no_run_folder(tmp_path, config):
    with pytest.raises(ShardError):
        train_run(tmp_path / "nowhere", tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_missing_shards_are_named_on_resume(tmp_path, config, interrupted):
    with pytest.raises(ShardError, match="immo prepare"):
        train_run(tmp_path / "nowhere", interrupted, config, resume=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", None, "holds no finished training"),
        ("model.json", "{", "cannot be read"),
        ("model.json", '{"format": "immo-model", "format_version": 2}', "version 2"),
        ("model.json", '{"format": "immo-model", "format_version": 1}', "damaged"),
        ("model.safetensors", "xx", "expected the weights"),
        ("model.safetensors", None, "expected the weights"),
    ],
)
def test_a_damaged_model_is_refused(shards, tmp_path, config, name, content, message):
    train_run(shards, tmp_path / "run", config)
    path = tmp_path / "run" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RunError, match=message):
        load_model(tmp_path / "run")


def test_damaged_metrics_are_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_text('{"epoch": 0}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1"):
        read_metrics(path)


def test_differing_keys_reach_into_sections():
    other = ImmoConfig.model_validate({"mask": {"values_by_layer": {"mb": {"p0": 0.5}}}})
    assert differing_keys(ImmoConfig(), other)["mask.values_by_layer.mb.p0"] == (None, 0.5)
