"""The bench of the search: what it simulates is what it says, and a quick one runs."""

import json

import numpy as np
import pytest
from scipy import optimize

from immo_hpc.bench.search import bench_search
from immo_hpc.bench.search_fitted import fit_surface
from immo_hpc.bench.search_processes import Faults
from immo_hpc.bench.search_quality import (
    HARTMANN_BEST,
    Quality,
    lost_in_parallel,
    paper_space,
    simulate,
    synthetic,
)
from immo_hpc.bench.search_result import Size
from immo_hpc.errors import UsageError
from immo_hpc.search import suggest as suggesting
from immo_hpc.search.points import drawn_point
from immo_hpc.search.study import Goal
from immo_hpc.search.suggest import Question, Seen


def test_surfaces_have_the_optimum_they_name():
    space = paper_space()
    floats = [item for item in space.dimensions if item.kind == "float" and not item.log]
    for surface, best in synthetic(space).values():
        points = [suggesting.suggest(Question(space, sampler="random"), [], n) for n in range(300)]
        values = [surface(point) for point in points]
        assert min(values) > best
        start = points[int(np.argmin(values))]

        def along(x, surface=surface, start=start):
            return surface(start | dict(zip([item.key for item in floats], x, strict=True)))

        found = optimize.minimize(
            along,
            [start[item.key] for item in floats],
            method="L-BFGS-B",
            bounds=[(item.low, item.high) for item in floats],
        )
        assert best - 1e-4 < found.fun < min(values)
    assert synthetic(space)["hartmann"][1] == HARTMANN_BEST


def test_simulated_workers_know_only_what_has_ended(monkeypatch):
    space, asked = paper_space(), []

    def note(question, seen, number):
        asked.append((number, [item.values is None for item in seen]))
        return drawn_point(question.space, [number])

    monkeypatch.setattr("immo_hpc.bench.search_quality.suggest", note)
    ended = simulate(Question(space, seed=3), lambda params: 1.0, 4, 12)
    assert len(ended) == 12
    for number, pending in asked:
        assert len(pending) == number
        assert sum(pending) == min(number, 3)
    alone = []
    asked.clear()
    alone = simulate(Question(space, seed=3), lambda params: 1.0, 1, 5)
    assert [sum(pending) for _, pending in asked] == [0] * 5
    assert len(alone) == 5


def test_what_parallel_workers_lose():
    rows = [
        Quality("valley", "gp", 1, (1.0,), None),
        Quality("valley", "gp", 8, (1.2,), None),
    ]
    assert lost_in_parallel(rows, {"valley": 5.0}) == {"valley gp": pytest.approx(0.05)}


def test_a_fitted_surface_foretells_trials_it_has_not_seen(study, run_worker):
    folder, plan = study(goal=Goal(trials=40, top=0))
    run_worker(folder)
    found = fit_surface(folder.path)
    assert found.trials == 40
    assert found.r2 > 0.9
    assert found.rmse < 0.3 * found.spread
    point = drawn_point(plan.space, [7])
    assert found.surface(point) == pytest.approx(abs(point["model.dropout"] - 0.3), abs=0.03)


def test_a_surface_needs_trials(study, run_worker):
    folder, _ = study()
    run_worker(folder)
    with pytest.raises(UsageError, match="at least 30 complete trials; found .* and 6 trials"):
        fit_surface(folder.path)


def test_faults_are_told():
    good = Faults(3, 10, 11, 2, 1, 0, 0, 0, 0.5, 9.0)
    assert good.is_sound
    for name in ("open", "missing", "repeated"):
        assert not Faults(**{**vars(good), name: 1}).is_sound


def test_a_surrogate_is_shown_the_best_and_an_even_choice():
    space = paper_space()
    seen = [Seen({}, (float(number % 97),)) for number in range(900)] + [Seen({}, None)] * 3
    shown = suggesting._shown(Question(space), seen)
    assert len(shown) == 256 + 3
    best = sorted(item.values[0] for item in seen[:900])[:128]
    assert sorted(item.values[0] for item in shown if item.values)[:128] == best
    assert suggesting._shown(Question(space), seen[:200]) == seen[:200]


def test_a_quick_bench_runs(monkeypatch, tmp_path):
    tiny = Size(
        trials=4,
        seeds=1,
        finished=(12,),
        records=20,
        workers=2,
        throughput_trials=4,
        trial_s=0.05,
        fault_trials=4,
        fault_s=0.05,
        repetitions=1,
        undisturbed=1,
        kill_every_s=30.0,
    )
    monkeypatch.setattr("immo_hpc.bench.search.QUICK", tiny)
    out = tmp_path / "bench.json"
    measured = bench_search(quick=True, out=out)
    values = json.loads(out.read_text())
    assert len(values["quality"]) == 2 * 3 * 2
    assert measured.faults[0].is_sound
    assert 0 < measured.throughput.share <= 1
    assert "sound" in measured.text()
    with pytest.raises(UsageError, match="--only: unknown"):
        bench_search(parts=["speed"])
