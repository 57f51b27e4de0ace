"""What a search costs beside its trainings: suggestions, loading, and a share of the whole."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from immo_hpc.bench.search_quality import paper_space, synthetic
from immo_hpc.search.export import optuna_trials, write_journal
from immo_hpc.search.study import Ledger, Plan, Result, StudyFolder, Trial
from immo_hpc.search.study.records import RESULT, TRIAL, trial_name
from immo_hpc.search.suggest import Question, SamplerName, Seen, quiet_optuna, suggest
from immo_hpc.train import RunFolder, read_metrics

_NUM_PENDING = 7


def suggest_seconds(counts: Sequence[int], sampler: SamplerName, repeats: int) -> dict[int, float]:
    """Median time of a suggestion after so many finished trials, with 7 under way."""
    space = paper_space()
    surface, _ = synthetic(space)["valley"]
    at_random = Question(space, sampler="random", seed=1)
    points = [suggest(at_random, [], number) for number in range(max(counts) + _NUM_PENDING)]
    question = Question(space, sampler=sampler, seed=1)
    # The first suggestion imports torch.
    suggest(question, [Seen(point, (surface(point),)) for point in points[:12]], 12)
    found = {}
    for count in counts:
        seen = [Seen(point, (surface(point),)) for point in points[:count]]
        seen += [Seen(point, None) for point in points[count : count + _NUM_PENDING]]
        times = []
        for repeat in range(repeats):
            began = time.perf_counter()
            suggest(question, seen, count + repeat)
            times.append(time.perf_counter() - began)
        found[count] = statistics.median(times)
    return found


def load_seconds(num_trials: int, plan: Plan) -> dict[str, float]:
    """Time to read a study of so many trials: ours, and Optuna's journal of the same."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    with tempfile.TemporaryDirectory(prefix="immo-bench-") as path, quiet_optuna():
        folder = StudyFolder(Path(path) / "study")
        _write_trials(folder, plan, num_trials)
        began = time.perf_counter()
        ledger = Ledger(folder.trials)
        ledger.sync()
        ours_s = time.perf_counter() - began
        assert len(ledger.results) == num_trials
        began = time.perf_counter()
        ledger.sync()
        again_s = time.perf_counter() - began
        write_journal(folder, plan, ledger)
        began = time.perf_counter()
        place = str(folder.journal)
        backend = JournalFileBackend(place, lock_obj=JournalFileOpenLock(place))
        study = optuna.load_study(study_name="study", storage=JournalStorage(backend))
        assert len(study.get_trials(deepcopy=False)) == num_trials
        journal_s = time.perf_counter() - began
        began = time.perf_counter()
        memory = optuna.create_study(directions=list(plan.directions))
        memory.add_trials(optuna_trials(plan, ledger))
        memory_s = time.perf_counter() - began
    return {"load": ours_s, "again": again_s, "in_memory_study": memory_s, "journal": journal_s}


def outside_training(
    shards: Path, plan: Plan, trials: int, say: Callable[[str], None]
) -> dict[str, float]:
    """Share of a search by one worker that is spent outside training.

    Training is the wall time of the epochs, held-out error included; everything else is
    outside: suggestions, records, reading shards, writing runs and checkpoints.
    """
    from immo_hpc.data.shards import read_shards
    from immo_hpc.search.objective import TrainingObjective
    from immo_hpc.search.study import Goal, Worker, make_or_join

    with tempfile.TemporaryDirectory(prefix="immo-bench-") as path:
        folder = StudyFolder(Path(path) / "study")
        began = time.monotonic()
        make_or_join(folder, plan, Goal(trials=trials, top=0))
        found = read_shards(shards)
        measure = TrainingObjective(plan, found.cohort, shards, found.preparation.to_dict())
        Worker(folder, plan, measure, say=say).run()
        wall_s = time.monotonic() - began
        runs = [RunFolder(place) for place in folder.trials.glob("*/run*")]
        training_s = sum(record.seconds for run in runs for record in read_metrics(run.metrics))
    return {"wall": wall_s, "training": training_s, "share": 1 - training_s / wall_s}


def _write_trials(folder: StudyFolder, plan: Plan, num_trials: int) -> None:
    """Records as workers write them, without waiting for the disk."""
    question = Question(plan.space, sampler="random")
    for number in range(num_trials):
        place = folder.trials / trial_name(number)
        place.mkdir(parents=True)
        trial = Trial(number, suggest(question, [], number), 0, "random", created=1.0)
        steps = tuple((step, 1.0 / (step + 1)) for step in range(60))
        result = Result("complete", (1.0 / (number + 1),), intermediate=steps, finished=2.0)
        (place / TRIAL).write_text(json.dumps(asdict(trial)) + "\n", encoding="utf-8")
        (place / RESULT).write_text(json.dumps(asdict(result)) + "\n", encoding="utf-8")
