"""Workers that are killed: no trial is lost, none runs for ever, none is measured twice."""

import json
import random
import signal
import socket
import threading

import pytest

from immo_hpc.errors import InterruptedRun
from immo_hpc.lease import owner
from immo_hpc.lease import take as take_module
from immo_hpc.lines import read_lines
from immo_hpc.search.study import Goal, Ledger, Measured, TrialFailed, Worker
from immo_hpc.search.study.records import Result, add_result, trial_name
from immo_hpc.search.study.slots import MOST_FRUITLESS
from immo_hpc.train.interrupt import StopRequest


def ledger_of(folder):
    ledger = Ledger(folder.trials)
    ledger.sync()
    return ledger


def require_accounted(folder, goal):
    """Every number is there, over, and nothing was measured twice."""
    ledger = ledger_of(folder)
    assert [trial.number for trial in ledger.trials.values()] == list(range(len(ledger.trials)))
    assert not ledger.open
    made = [trial for trial in ledger.trials.values() if trial.retry_of is None]
    assert len(made) == goal.trials
    complete = [trial for trial, _ in ledger.finished("complete")]
    points = {json.dumps(trial.params, sort_keys=True) for trial in complete}
    assert len(points) == len(complete)
    for trial, result in ledger.finished("failed"):
        assert result.retry
        again = [other for other in ledger.trials.values() if other.retry_of == trial.number]
        assert len(again) == 1
        assert again[0].params == trial.params
    # Given up and tried again, every point of the study has a value in the end.
    every = {json.dumps(trial.params, sort_keys=True) for trial in ledger.trials.values()}
    assert points == every
    return ledger


def test_workers_killed_at_random_lose_nothing(study, processes, until):
    goal = Goal(trials=30, top=0)
    folder, _ = study(goal=goal)
    draw = random.Random(0)
    workers = [processes(folder, 0.05) for _ in range(3)]
    kills = (5, 11, 17, 23)
    for kill_at in kills:
        until(lambda at=kill_at: len(ledger_of(folder).results) >= at)
        place = draw.randrange(3)
        workers[place].send_signal(signal.SIGKILL)
        workers[place].wait()
        workers[place] = processes(folder, 0.05, ready=False)
    for worker in workers:
        assert worker.wait(120) == 0, worker.stderr.read().decode()
    ledger = require_accounted(folder, goal)
    ended = [
        (folder.trials / name / "evaluated").read_text().split().count("ended")
        for name in ledger.trials
    ]
    # Measured again only where a worker was killed between the end and its record.
    assert min(ended) == 1
    assert sum(ended) <= len(ended) + len(kills)


def test_a_killed_workers_trial_is_taken_up_first(study, processes, run_worker, until):
    folder, _ = study(goal=Goal(trials=2, top=0))
    worker = processes(folder, 60)
    until(lambda: (folder.trials / "00000" / "evaluated").exists())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    order = []

    def evaluate(place, trial, report):
        order.append(trial.number)
        return Measured((0.5,))

    assert run_worker(folder, evaluate)
    assert order == [0, 1]
    assert ledger_of(folder).results["00000"].attempts == 2


def test_a_trial_that_kills_its_workers_is_given_up_and_tried_once_more(study, run_worker):
    folder, _ = study(goal=Goal(trials=1, top=0))
    deaths = []

    def evaluate(place, trial, report):
        deaths.append(trial.number)
        raise MemoryError

    for _ in range(2 * MOST_FRUITLESS):
        with pytest.raises(MemoryError):
            run_worker(folder, evaluate)
    assert run_worker(folder, evaluate)
    assert deaths == [0] * MOST_FRUITLESS + [1] * MOST_FRUITLESS
    ledger = ledger_of(folder)
    assert [result.state for result in ledger.results.values()] == ["failed", "failed"]
    assert [result.retry for result in ledger.results.values()] == [True, False]
    assert "3 workers in a row" in ledger.results["00001"].reason


def test_progress_keeps_a_trial_alive(study, run_worker):
    folder, _ = study(goal=Goal(trials=1, top=0))

    def evaluate(place, trial, report):
        checkpoints = place / "run" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        number = len(list(checkpoints.iterdir()))
        (checkpoints / f"epoch-{number:06d}-step-0").touch()
        if number < 2 * MOST_FRUITLESS:
            raise InterruptedRun
        return Measured((1.0,))

    for _ in range(2 * MOST_FRUITLESS):
        with pytest.raises(InterruptedRun):
            run_worker(folder, evaluate)
    assert run_worker(folder, evaluate)
    assert ledger_of(folder).results["00000"].attempts == 2 * MOST_FRUITLESS + 1
    # Every piece of work left its sign for those who count.
    assert len(list(folder.progress.iterdir())) == 2 * MOST_FRUITLESS + 1


def test_a_silent_worker_of_another_host_is_replaced_after_its_time(study, run_worker, monkeypatch):
    folder, plan = study(goal=Goal(trials=1, top=0))
    now = [1000.0]
    monkeypatch.setattr(take_module.time, "monotonic", lambda: now[0])
    foreign = owner.Owner("elsewhere", "", 1, "1", "2026-11-20T00:00:00", 60.0, "0" * 16)
    worker = Worker(folder, plan, lambda *_: Measured((1.0,)))
    with pytest.raises(KeyboardInterrupt):
        run_worker(folder, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    lease = folder.trials / "00000" / "worker.lease"
    lease.write_bytes(owner.to_text(foreign))
    assert socket.gethostname() != "elsewhere"
    assert worker._next() is None  # Seen, and perhaps alive.
    now[0] += 59
    assert worker._next() is None
    lease.write_bytes(owner.to_text(foreign, 1))  # A sign of life.
    now[0] += 59
    assert worker._next() is None
    now[0] += 61
    ledger, slot = worker._next()
    assert slot.trial.number == 0
    worker._measure(ledger, slot)
    assert ledger_of(folder).results["00000"].attempts == 2


def test_half_written_records_are_put_right(study, run_worker):
    folder, _ = study(goal=Goal(trials=4, top=0))
    run_worker(folder)
    before = ledger_of(folder)
    whole = (folder.trials / "00001" / "result.json").read_text()
    (folder.trials / "00001" / "result.json").write_text(whole[:40])
    (folder.trials / "00002" / "trial.json").write_text("{")
    (folder.trials / "00003" / "result.json").unlink()
    (folder.trials / "00003" / "trial.json").write_text('{"number": 3')
    with (folder.trials / "00001" / "attempts.jsonl").open("a") as file:
        file.write('{"event": "beg')
    (folder.trials / ".0123456789ab.00004").mkdir()
    assert run_worker(folder)
    after = ledger_of(folder)
    assert after.results["00001"].values == before.results["00001"].values
    assert after.results["00002"].values == before.results["00002"].values
    assert after.results["00003"].state == "failed"
    assert "damaged" in after.results["00003"].reason
    lines = read_lines(folder.trials / "00001" / "attempts.jsonl")
    assert [line["event"] for line in lines] == ["began", "began"]


def test_the_first_result_stays(study, run_worker):
    folder, _ = study(goal=Goal(trials=1, top=0))
    run_worker(folder)
    first = ledger_of(folder).results["00000"]
    assert not add_result(folder.trials / "00000", Result("failed"))
    assert ledger_of(folder).results["00000"] == first


def test_a_trial_that_cannot_be_measured_fails_and_the_search_goes_on(study, run_worker):
    folder, _ = study(goal=Goal(trials=3, top=0))
    reason = "its loss is not finite"

    def evaluate(place, trial, report):
        if trial.number == 1:
            raise TrialFailed(reason)
        return Measured((1.0,))

    assert run_worker(folder, evaluate)
    states = [result.state for result in ledger_of(folder).results.values()]
    assert states == ["complete", "failed", "complete"]


def test_many_at_once_give_no_number_and_no_point_twice(study):
    goal = Goal(trials=24, top=0)
    folder, plan = study(goal=goal)
    errors = []

    def work():
        try:
            Worker(folder, plan, lambda *_: Measured((1.0,))).run()
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    require_accounted(folder, goal)


def test_names_without_hard_links(study, run_worker, monkeypatch):
    def refuse(*_args, **_more):
        raise PermissionError(1, "no links here")

    folder, _ = study(goal=Goal(trials=3, top=0))
    monkeypatch.setattr("os.link", refuse)
    assert run_worker(folder)
    require_accounted(folder, Goal(trials=3, top=0))
    assert sorted(path.name for path in folder.trials.iterdir()) == [
        trial_name(number) for number in range(3)
    ]


def test_a_worker_that_stood_still_leaves_its_trial_to_who_took_it_over(study, run_worker):
    folder, _ = study(goal=Goal(trials=1, top=0))
    lease = folder.trials / "00000" / "worker.lease"
    said, times = [], []

    def evaluate(place, trial, report):
        times.append(trial.number)
        if len(times) == 1:
            # Meanwhile: taken over, finished, given up again.
            add_result(place, Result("complete", (0.25,)))
            lease.unlink()
        report(0, 1.0)
        return Measured((9.0,))

    assert run_worker(folder, evaluate, say=said.append)
    assert times == [0]
    assert ledger_of(folder).results["00000"].values == (0.25,)
    assert "another worker took it over" in said[0]


def test_a_request_to_stop_reaches_those_around_it():
    with StopRequest() as outer:
        with StopRequest() as inner:
            signal.raise_signal(signal.SIGUSR2)
        assert (inner.name, outer.name) == ("SIGUSR2", "SIGUSR2")
