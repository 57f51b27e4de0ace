"""immo tune: searched, killed, resumed, joined by several workers, refused."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

SMALL = [
    "--set=model.encoder_dims=[8]",
    "--set=model.decoder_dims=[8]",
    "--search=model.latent_dim=2..8",
]
QUICK = [*SMALL, "--set=train.epochs=3", "--top=0"]


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "immo_hpc.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def until(is_so, seconds=120):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def results(study):
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(study.glob("trials/*/result.json"))
    }


def test_a_search_gives_table_best_configuration_and_page(immo, trained, tmp_path):
    study = tmp_path / "study"
    words = ["tune", trained / "shards", study, "--trials=3", *QUICK[:-1], "--top=1", "--seeds=2"]
    code, out, err = immo(*words)
    assert code == 0, err
    assert "3 complete" in out
    assert "over 2 of 2 seeds" in out
    for name in ("trials.tsv", "best.yaml", "search.html", "optuna.journal"):
        assert (study / name).is_file()
    # The same command finds nothing left to do; a larger goal goes on.
    code, out, _ = immo(*words, "--json")
    assert (code, json.loads(out)["complete"]) == (0, 3)
    code, out, _ = immo("status", study, "--json")
    assert json.loads(out)["is_finished"]
    code, out, _ = immo("tune", trained / "shards", study, "--join", "--trials=4", "--json")
    assert json.loads(out)["complete"] == 4
    code, _, err = immo(
        "train", trained / "shards", tmp_path / "run", "--config", study / "best.yaml"
    )
    assert code == 0, err
    # What the search says is what training gives.
    value = json.loads(immo("tune", trained / "shards", study, "--export", "--json")[1])
    winner = results(study)[f"{value['winner']:05d}"]
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert min(json.loads(line)["validation"] for line in metrics) == pytest.approx(
        winner["values"][0], rel=1e-6
    )


def test_a_killed_trial_goes_on_to_the_same_bits(immo, trained, tmp_path):
    common = [*SMALL, "--trials=1", "--top=0", "--set=train.epochs=400"]
    common += ["--set=train.patience=400", "--set=train.checkpoint_epochs=2"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = start("tune", trained / "shards", broken, *common)
    checkpoints = broken / "trials" / "00000" / "run" / "checkpoints"
    until(lambda: len(list(checkpoints.glob("epoch-*"))) == 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not results(broken)
    code, out, _ = immo("status", broken)
    assert "0 complete, 1 running" in out  # Only time, or the next worker, can tell.
    code, _, err = immo("resume", broken)
    assert code == 0, err
    code, _, err = immo("tune", trained / "shards", whole, *common)
    assert code == 0, err
    one, other = results(whole)["00000"], results(broken)["00000"]
    assert one["values"] == other["values"]
    assert one["intermediate"] == other["intermediate"]
    assert (one["attempts"], other["attempts"]) == (1, 2)
    models = [study / "trials" / "00000" / "run" / "model.safetensors" for study in (whole, broken)]
    assert models[0].read_bytes() == models[1].read_bytes()
    assert not list(checkpoints.iterdir())


def test_an_interrupted_search_of_two_workers_is_gone_on_with(immo, trained, tmp_path):
    study = tmp_path / "study"
    words = ["tune", trained / "shards", study, "--trials=6", *SMALL, "--top=0"]
    words += ["--set=train.epochs=150", "--set=train.patience=150"]
    process = start(*words, "--workers=2")
    until(lambda: list(study.glob("trials/*/run/metrics.jsonl")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3, err
    assert "the same command goes on" in err
    assert not list(study.glob("trials/*/worker.lease"))
    process = start(*words, "--workers=2")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "6 complete" in out
    assert len(results(study)) == 6


def test_folds_several_objectives_and_the_papers(immo, trained, tmp_path):
    study = tmp_path / "study"
    words = ["tune", trained / "shards", study, "--trials=2", "--folds=2", *QUICK]
    code, out, err = immo(*words, "--objective=held-out,auc,cost")
    assert code == 0, err
    assert "Pareto front" in out
    result = results(study)["00000"]
    assert len(result["detail"]["by_fold"]) == 2
    assert 0 <= result["values"][1] <= 1
    code, _, err = immo(
        "tune", trained / "shards", tmp_path / "p", "--trials=1", *QUICK, "--objective=paper"
    )
    assert code == 0
    assert "do not compare between trials" in err


def test_nobody_of_the_test_side_is_seen(trained):
    from immo_hpc.data.shards import read_shards
    from immo_hpc.search.sides import folds_of, without_test

    cohort = read_shards(trained / "shards").cohort
    tested = {cohort.sample_ids[place] for place in cohort.indices("test")}
    assert tested
    for fold in folds_of(without_test(cohort), 3, 0):
        assert not tested & set(fold.sample_ids)
        held_out = set(fold.subjects.iloc[fold.indices("validation")])
        assert held_out
        assert not held_out & set(fold.subjects.iloc[fold.indices("train")])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--search=model.latnet_dim=2..8"], "did you mean 'model.latent_dim'"),
        (["--search=train.batch_size=64..32"], "is empty"),
        (["--objective=accuracy"], "unknown"),
        (["--sampler=annealing"], "expected gp, tpe, random"),
        (["--prune=all"], "expected none, median"),
        (["--folds=500"], "use fewer folds"),
        (["--space=nowhere.yaml"], "cannot be read"),
        (["--set=mask.values.p_max=0.8"], "mask.values.p0=0.9 does not work"),
        (["--warm=nowhere"], "expected paper, default"),
    ],
)
def test_bad_searches_end_with_one_message(immo, trained, tmp_path, words, expected):
    code, out, err = immo("tune", trained / "shards", tmp_path / "study", "--trials=1", *words)
    assert code in (1, 2)
    assert not out
    assert expected in err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_other_studies_are_left_alone(immo, trained, tmp_path):
    study = tmp_path / "study"
    words = ["tune", trained / "shards", study, "--trials=1", *QUICK]
    assert immo(*words)[0] == 0
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    for change, expected in (
        (["--seed=5"], "seed was 0, now 5"),
        (["--set=train.clip_norm=2"], "config.train.clip_norm was 1.0, now 2.0"),
        (["--objective=cost"], "objectives was ['held-out'], now ['cost']"),
    ):
        code, _, err = immo(*words, *change)
        assert code == 1
        assert expected in err
    code, _, err = immo("tune", trained / "shards", study, "--join", "--sampler=tpe")
    assert code == 2
    assert "leave out sampler" in err
    code, _, err = immo("tune", trained / "shards", tmp_path / "none", "--join")
    assert code == 1
    assert "no study folder" in err
    description = study / "study.json"
    text = description.read_text()
    description.write_text(json.dumps(json.loads(text) | {"immo_hpc": "9.9"}))
    for words_of_another in (
        words,
        ["tune", trained / "shards", study, "--join"],
        ["resume", study],
    ):
        code, _, err = immo(*words_of_another)
        assert code == 1
        assert "begun by immo-hpc 9.9" in err
    assert immo("status", study)[0] == 0
    description.write_text(text)
    after = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert after == before


def test_a_study_of_another_cohort_is_refused(immo, small_cohort, trained, tmp_path, tiny):
    code, _, err = immo("prepare", small_cohort, tmp_path / "other", "--seed=3", *tiny)
    assert code == 0, err
    study = tmp_path / "study"
    assert immo("tune", trained / "shards", study, "--trials=1", *QUICK)[0] == 0
    code, _, err = immo("tune", tmp_path / "other", study, "--trials=1", *QUICK)
    assert code == 1
    assert "the cohort (shards of" in err
    code, _, err = immo("tune", tmp_path / "other", study, "--join")
    assert code == 1
    assert "holds another cohort" in err


def test_a_job_of_several_workers(trained, tmp_path):
    from immo_hpc.cli._words import asked
    from immo_jobs.plan import Array, plan

    study = tmp_path / "study"
    request = asked("tune", [str(trained / "shards"), str(study), "--trials=5", *QUICK])
    tasks = plan(request, Array(count=3))
    assert [task.name for task in tasks] == ["tune-0", "tune-1", "tune-2"]
    assert len({task.command for task in tasks}) == 1
    assert tasks[0].command[:4] == ("immo", "tune", str(trained / "shards"), str(study))
    assert tasks[0].progress == str(study / "progress")
    assert "--trials" in tasks[0].command


def test_space_files_are_read(immo, trained, tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        yaml.safe_dump(
            {"start": "empty", "keys": {"train.learning_rate": {"low": 1e-4, "high": 1e-2}}}
        )
    )
    study = tmp_path / "study"
    words = ["--trials=2", "--top=0", "--set=train.epochs=2", "--space", file, "--warm=default"]
    code, _, err = immo("tune", trained / "shards", study, *words)
    assert code == 0, err
    first = json.loads((study / "trials" / "00000" / "trial.json").read_text())
    assert (first["origin"], first["params"]) == ("default", {"train.learning_rate": 0.00183})
