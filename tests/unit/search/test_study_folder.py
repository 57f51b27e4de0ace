"""The study folder: made once, joined by the same, refused to others; goals and results."""

import csv
import json
from collections import Counter

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from immo_hpc.config import ImmoConfig, validated
from immo_hpc.errors import ConfigError, InterruptedRun, OutputError, RunError
from immo_hpc.search.build import build_space
from immo_hpc.search.measures import measures_of
from immo_hpc.search.pruning import Pruning, check_pruner
from immo_hpc.search.study import (
    Goal,
    Ledger,
    Measured,
    StudyFolder,
    change_goal,
    make_or_join,
)
from immo_hpc.search.study.standing import confirmed, dominates, front
from immo_hpc.search.suggest import Seen
from immo_hpc.search.warm import comparable, warm_start
from immo_hpc.workflow.tuning.telling import told


def ledger_of(folder):
    ledger = Ledger(folder.trials)
    ledger.sync()
    return ledger


def test_the_same_plan_joins_and_another_is_refused_with_its_difference(study, plan):
    folder, made = study()
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert make_or_join(folder, plan(shards="/moved"), Goal()) == made
    searched, _ = build_space(("mg", "mt", "mb"), ImmoConfig(), texts=["model.dropout=0.1..0.3"])
    for changes, expected in (
        ({"data": "1" * 64}, "the cohort"),
        ({"seed": 4}, "seed was 0, now 4"),
        ({"sampler": "gp"}, "sampler was 'random', now 'gp'"),
        ({"config": ImmoConfig(seed=3)}, "config.seed was 0, now 3"),
        ({"space": searched}, "space model.dropout was '0.1..0.5', now '0.1..0.3'"),
        ({"folds": 3}, "folds was 1, now 3"),
    ):
        with pytest.raises(RunError, match="another study is there") as refused:
            make_or_join(folder, plan(**changes), Goal(trials=999))
        assert expected in str(refused.value)
    after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert after == before


def test_other_versions_and_other_folders_are_refused(study, plan, tmp_path):
    folder, _ = study()
    values = json.loads(folder.description.read_text())
    folder.description.write_text(json.dumps(values | {"format_version": 9}))
    with pytest.raises(RunError, match="expected immo-study version 1, found immo-study version 9"):
        make_or_join(folder, plan(), Goal())
    folder.description.write_text("{")
    with pytest.raises(RunError, match=r"study\.json: not readable"):
        folder.read_plan()
    full = StudyFolder(tmp_path / "full")
    full.path.mkdir()
    (full.path / "thesis.tex").touch()
    with pytest.raises(OutputError, match="not empty"):
        make_or_join(full, plan(), Goal())
    assert [path.name for path in full.path.iterdir()] == ["thesis.tex"]


def test_a_goal_may_be_raised_and_patience_ends_a_search(study, run_worker):
    folder, _ = study(goal=Goal(trials=3, top=0))
    run_worker(folder)
    change_goal(folder, trials=5)
    run_worker(folder)
    assert len(ledger_of(folder).results) == 5
    change_goal(folder, trials=500, patience=4)
    run_worker(folder, lambda *_: Measured((7.0,)))
    best = min(ledger_of(folder).finished("complete"), key=lambda item: item[1].values)[0]
    assert len(ledger_of(folder).results) == max(5, best.number + 1 + 4)


def test_a_space_that_is_used_up_ends_the_search(study, run_worker):
    space, _ = build_space(
        ("mg", "mb"), ImmoConfig(), texts=["loss.scope=kept|observed"], file=None
    )
    finite = type(space)(space.layers, (space.dimensions[-1],), {})
    folder, _ = study(space=finite, goal=Goal(trials=50, top=0))
    assert run_worker(folder, lambda *_: Measured((1.0,)))
    assert {trial.params["loss.scope"] for trial in ledger_of(folder).trials.values()} == {
        "kept",
        "observed",
    }
    assert len(ledger_of(folder).trials) == 2


def test_stopped_workers_and_deadlines_leave_a_study_to_go_on_with(study, run_worker):
    folder, _ = study(goal=Goal(trials=4, top=0))
    with pytest.raises(InterruptedRun, match="stopped on SIGTERM"):
        run_worker(folder, stopped=lambda: "SIGTERM" if ledger_of(folder).results else None)
    assert len(ledger_of(folder).results) == 1
    assert not run_worker(folder, deadline=0.0)
    assert run_worker(folder)


def test_the_best_are_judged_over_seeds_and_the_winner_is_named_by_the_mean(study, run_worker):
    folder, plan = study(goal=Goal(trials=4, top=2, seeds=3))

    def evaluate(place, trial, report):
        # Trial 1 looks best with the first seed, and is not.
        lucky = {0: 5.0, 1: 1.0, 2: 1.1, 3: 6.0}[trial.number]
        return Measured((lucky + (2.0 * trial.seed if trial.number == 1 else 0.01 * trial.seed),))

    run_worker(folder, evaluate)
    seeds = Ledger(folder.confirm)
    seeds.sync()
    assert sorted(seeds.results) == [
        f"0000{number}-seed-{seed}" for number in (1, 2) for seed in (1, 2)
    ]
    judged = confirmed(ledger_of(folder), seeds, plan, Goal(trials=4, top=2, seeds=3))
    assert [item.trial.number for item in judged] == [2, 1]
    assert judged[1].values == (1.0, 3.0, 5.0)
    assert judged[1].sd == 2.0


def test_several_objectives_have_a_front(study, run_worker):
    folder, plan = study(
        objectives=("held-out", "auc"), directions=("minimize", "maximize"), goal=Goal(4, top=0)
    )
    values = {0: (1.0, 0.5), 1: (2.0, 0.9), 2: (2.0, 0.8), 3: (0.9, 0.4)}
    run_worker(folder, lambda place, trial, report: Measured(values[trial.number]))
    assert [trial.number for trial, _ in front(ledger_of(folder), plan.directions)] == [3, 0, 1]
    assert not dominates((1.0, 0.5), (1.0, 0.5), plan.directions)
    assert told(folder, write=True).values["best"][0]["number"] == 3


def test_results_can_be_read_by_others(study, run_worker):
    folder, plan = study(goal=Goal(trials=12, top=0))

    def evaluate(place, trial, report):
        for step in range(3):
            report(step, 2.0 - step)
        return Measured((abs(trial.params["model.dropout"] - 0.3),), {"epochs": 3})

    run_worker(folder, evaluate)
    change_goal(folder, trials=13)
    with pytest.raises(KeyboardInterrupt):
        run_worker(folder, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    outcome = told(folder, write=True)
    assert (outcome.values["complete"], outcome.values["open"]) == (12, 1)
    assert "12 complete" in outcome.text()
    with folder.table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert Counter(row["state"] for row in rows) == {"complete": 12, "open": 1}
    weights = [float(rows[0][f"loss.weights.{name}"]) for name in plan.space.layers]
    assert sum(weights) == pytest.approx(1)
    best = validated(yaml.safe_load(folder.best.read_text()), where="best.yaml")
    winner = ledger_of(folder).trials[f"{outcome.values['winner']:05d}"]
    assert best == plan.space.config(plan.config, winner.params, plan.config.seed)
    place = str(folder.journal)
    backend = JournalFileBackend(place, lock_obj=JournalFileOpenLock(place))
    loaded = optuna.load_study(study_name="study", storage=JournalStorage(backend))
    assert loaded.best_trial.number == winner.number
    assert [trial.state for trial in loaded.trials].count(TrialState.COMPLETE) == 12
    assert loaded.trials[12].state == TrialState.WAITING
    assert loaded.trials[0].intermediate_values == {0: 2.0, 1: 1.0, 2: 0.0}
    assert loaded.metric_names == ["held-out"]
    page = folder.page.read_text()
    for name in ("history", "importance", "parallel", "contour"):
        assert f'id="figure-{name}"' in page
    assert "<script" not in page


def test_pruned_trials_are_behind_those_that_are_complete(study, run_worker):
    folder, _ = study(goal=Goal(trials=8, top=0), pruner="median")

    def evaluate(place, trial, report):
        for step in range(20):
            report(step, 1.0 if trial.number != 6 else 2.0)
        return Measured((1.0,))

    run_worker(folder, evaluate)
    states = [result.state for result in ledger_of(folder).results.values()]
    assert states == ["complete"] * 6 + ["pruned", "complete"]
    ended = ledger_of(folder).results["00006"]
    assert 10 <= ended.intermediate[-1][0] < 19
    assert "behind the others" in ended.reason


def test_pruners(plan):
    others = [[(step, float(level)) for step in range(20)] for level in range(8)]
    own = [(step, 3.0) for step in range(15)]
    assert not Pruning("median", plan().space).is_behind(own, others)
    assert Pruning("percentile:25", plan().space).is_behind(own, others)
    assert not Pruning("none", plan().space).is_behind(own, others)
    for bad in ("hyper", "percentile", "percentile:0", "percentile:x"):
        with pytest.raises(ConfigError, match="expected none, median"):
            check_pruner(bad)


def test_objectives():
    assert [measure.name for measure in measures_of("held-out,cost")] == ["held-out", "cost"]
    assert measures_of("paper")[0].warning
    with pytest.raises(ConfigError, match="unknown"):
        measures_of("accuracy")
    with pytest.raises(ConfigError, match="named twice"):
        measures_of("auc,auc")


def test_warm_starts(study, run_worker, plan):
    folder, made = study(goal=Goal(trials=7, top=0))
    run_worker(folder)
    same = warm_start([str(folder.path)], made.space, made.config, comparable(made))
    assert len(same.known) == 7
    assert not same.queue
    other = plan(objectives=("auc",), directions=("maximize",))
    again = warm_start([str(folder.path), "paper"], made.space, made.config, comparable(other))
    assert not again.known
    assert [origin for origin, _ in again.queue] == [str(folder.path)] * 5 + ["paper"]
    assert "do not compare" in again.notices[0]
    longer = made.config.model_copy(
        update={"train": made.config.train.model_copy(update={"epochs": 77})}
    )
    elsewhere = made.config.model_copy(
        update={"train": made.config.train.model_copy(update={"num_threads": 7})}
    )
    assert comparable(plan(config=longer)) != comparable(made)
    assert comparable(plan(config=elsewhere)) == comparable(made)
    description = json.loads(folder.description.read_text())
    folder.description.write_text(json.dumps(description | {"immo_hpc": "9.9"}))
    assert not warm_start([str(folder.path)], made.space, made.config, comparable(made)).known
    folder.description.write_text(json.dumps(description))
    narrow, _ = build_space(("mg", "mt", "mb"), ImmoConfig(), texts=["model.dropout=0.1..0.2"])
    with pytest.raises(ConfigError, match=r"outside the search space \(model\.dropout=0\.47329"):
        warm_start(["paper"], narrow, made.config, comparable(other))
    with pytest.raises(RunError, match="expected paper, default, or the folder of a study"):
        warm_start(["nowhere"], made.space, made.config, comparable(other))
    queued, _ = study("queued", queue=again.queue, known=same.known)
    run_worker(queued)
    first = ledger_of(queued).trials["00000"]
    assert (first.origin, first.params) == again.queue[0]
    assert isinstance(same.known[0], Seen)
