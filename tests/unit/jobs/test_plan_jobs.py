"""From a command line to tasks."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immo_hpc.cli._words import asked
from immo_hpc.config import load_config
from immo_hpc.data.manifest import read_manifest
from immo_hpc.errors import ConfigError, RunError, ShardError, UsageError
from immo_jobs.plan import Array, Asked, parse_configs, parse_seeds, plan

GOLDEN = Path(__file__).parents[2] / "golden" / "shards-v1"


@pytest.fixture
def shards(tmp_path):
    (found,) = GOLDEN.rglob("manifest.json")
    return Path(shutil.copytree(found.parent, tmp_path / "data" / "shards"))


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*words, **array):
    return plan(asked("train", ["data/shards", "runs", *words]), Array(**array))


def test_one_training(shards, tmp_path, in_folder):
    (task,) = train("--set", "train.epochs=9", "--seed", "4")
    assert task.command == (
        *("immo", "train", str(shards), str(tmp_path / "runs")),
        *("--set", "train.epochs=9", "--seed", "4", "--resume", "--wait=300"),
    )
    assert (task.name, task.out) == ("runs", str(tmp_path / "runs"))
    assert task.folders == (str(shards), str(tmp_path))


def test_a_run_for_each_seed_and_configuration(shards, tmp_path, in_folder):
    (tmp_path / "configs").mkdir()
    for name in ("b", "a"):
        (tmp_path / "configs" / f"{name}.yaml").write_text("train: {epochs: 2}\n")
    tasks = train(configs=parse_configs(["configs"]), seeds=(1, 3))
    assert [task.name for task in tasks] == ["a-seed-1", "a-seed-3", "b-seed-1", "b-seed-3"]
    assert tasks[0].out == str(tmp_path / "runs" / "a-seed-1")
    assert tasks[0].command[4:8] == ("--config", f"{tmp_path}/configs/a.yaml", "--seed", "1")
    assert tasks[0].folders == (str(shards), f"{tmp_path}/configs", f"{tmp_path}/runs")
    assert [task.name for task in train(count=2)] == ["seed-0", "seed-1"]


def test_a_shared_verb_is_the_same_command_many_times(tmp_path, in_folder):
    request = asked("prepare", ["cohort", "shards", "--label", "ibd"])
    assert request.positionals == (f"{tmp_path}/cohort", f"{tmp_path}/shards")
    tasks = plan(request, Array(count=3))
    assert len({task.command for task in tasks}) == 1
    assert tasks[0].command[-2:] == ("--work", f"{tmp_path}/shards.work")
    assert [task.name for task in tasks] == ["prepare-0", "prepare-1", "prepare-2"]
    assert {task.progress for task in tasks} == {f"{tmp_path}/shards.work"}
    (alone,) = plan(request, Array())
    assert alone.name == "prepare"


@pytest.mark.parametrize(
    ("words", "array", "message"),
    [
        (["--seed", "1"], {"seeds": (1, 2)}, "--seed gives one value, and the array gives several"),
        ([], {"seeds": (1,), "count": 2}, "--array and --seeds say the same"),
        (["--set", "train.epoch=3"], {}, "unknown key 'train.epoch'"),
    ],
)
def test_contradictions_are_refused_before_anything_waits_in_a_queue(
    shards, in_folder, words, array, message
):
    with pytest.raises((UsageError, ConfigError), match=message):
        train(*words, **array)


def test_two_runs_of_one_name_are_refused(shards, tmp_path, in_folder):
    files = [tmp_path / folder / "a.yaml" for folder in ("x", "y")]
    for file in files:
        file.parent.mkdir()
        file.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="two tasks would be named 'a'"):
        train(configs=tuple(files))


def test_shards_that_are_not_there(tmp_path, in_folder):
    with pytest.raises(ShardError, match="data/shards"):
        train()


def make_run(run, shards, checksum=None, **values):
    """The two files of a run folder that say what it is of."""
    import hashlib

    run.mkdir(parents=True)
    found = hashlib.sha256((shards / "manifest.json").read_bytes()).hexdigest()
    (run / "run.json").write_text(
        json.dumps({"manifest_sha256": checksum or found, "shards": "/old"})
    )
    config = load_config(base={**read_manifest(shards).config, **values})
    (run / "config.yaml").write_text(config.to_yaml())


def test_a_run_of_another_configuration_is_refused(shards, tmp_path, in_folder):
    make_run(tmp_path / "runs" / "seed-1", shards, seed=1)
    assert len(train(seeds=(1,))) == 1
    with pytest.raises(
        RunError, match=r"seed-1: .*another configuration: train.epochs was .* now 7"
    ):
        train("--set", "train.epochs=7", seeds=(0, 1))


def test_a_run_of_other_shards_is_refused(shards, tmp_path, in_folder):
    make_run(tmp_path / "runs", shards, checksum="0" * 64)
    with pytest.raises(RunError, match=r"started on other shards \(/old\)"):
        train()


def test_a_folder_that_is_no_run_is_refused(shards, tmp_path, in_folder):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "thesis.docx").touch()
    with pytest.raises(RunError, match="expected nothing or a run folder there"):
        train()


def test_only_some_verbs_can_be_jobs():
    with pytest.raises(
        UsageError, match=r"'embed' cannot be a job; the verbs that can are train, "
    ):
        asked("embed", ["run"])


def test_reproducing_is_one_task_that_goes_on_from_its_parts():
    request = Asked("reproduce", ("ibdmdb", "/d/cohort", "/d/out"), (), (Path("/d/cohort"),))
    (task,) = plan(request, Array())
    assert task.command == ("immo", "reproduce", "ibdmdb", "/d/cohort", "/d/out")
    assert (task.out, task.progress) == ("/d/out", "/d/.out.reproduce")
    with pytest.raises(UsageError, match="reproduce is one task; leave out --array"):
        plan(request, Array(count=2))


def test_seeds_are_for_training():
    with pytest.raises(UsageError, match="--seeds and --configs are for train; prepare takes"):
        plan(asked("prepare", ["a", "b"]), Array(seeds=(1,)))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True))
def test_a_list_of_seeds_is_read_back(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1", "0-7x"])
def test_a_list_of_seeds_that_is_none(text):
    with pytest.raises(UsageError, match="expected numbers and ranges"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["nowhere.yaml", "empty"])
def test_configurations_that_are_not_there(tmp_path, in_folder, text):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="expected a .yaml file, or a folder that holds some"):
        parse_configs([text])
