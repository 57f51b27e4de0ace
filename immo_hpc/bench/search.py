"""Quality, overhead and faults of the search."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from immo_hpc.bench.search_fitted import fit_surface
from immo_hpc.bench.search_overhead import load_seconds, outside_training, suggest_seconds
from immo_hpc.bench.search_processes import (
    bench_plan,
    measure_faults,
    measure_throughput,
)
from immo_hpc.bench.search_quality import (
    lost_in_parallel,
    measure_quality,
    paper_space,
    start_values,
    synthetic,
    trained_surface,
)
from immo_hpc.bench.search_result import QUICK, SearchBench, Size, fault_text
from immo_hpc.data.manifest import read_manifest
from immo_hpc.errors import UsageError
from immo_hpc.files import make_folder, write_text
from immo_hpc.search.build import build_space
from immo_hpc.search.study import Plan
from immo_hpc.train.run import manifest_checksum

PARTS = ("quality", "overhead", "faults")


def bench_search(
    shards: Path | None = None,
    *,
    quick: bool = False,
    parts: Sequence[str] = PARTS,
    study: Path | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SearchBench:
    """Measure the search.

    Args:
        shards: Shards to search on too; without them only surfaces and sleeping trials.
        quick: Small sizes, to see that everything works; the figures mean little.
        parts: Of `PARTS`.
        study: Study of the shards; a surface fitted to its trials takes the place of trainings in
            the quality of the search (`immo_hpc.bench.search_fitted`).
        out: JSON file to write; one that exists is replaced.
        say: Told what is being done.

    Raises:
        UsageError: If a part is unknown, or no surface can be fitted to the study.
        ShardError: If the shards cannot be read.
        OutputError: If ``out`` cannot be written.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        message = f"--only: unknown {unknown}; there are {', '.join(PARTS)}."
        raise UsageError(message)
    if out is not None:
        make_folder(out.parent)
    size = QUICK if quick else Size()
    measured = SearchBench(size=size)
    plan = None if shards is None else _plan_on(shards, size)
    if "quality" in parts:
        _quality(measured, size, shards, plan, study, say)
    if "overhead" in parts:
        _overhead(measured, size, shards, plan, say)
    if "faults" in parts:
        for kills_every_s, repetitions, rows in (
            (size.kill_every_s, size.repetitions, measured.faults),
            (0.0, size.undisturbed, measured.undisturbed),
        ):
            for seed in range(repetitions):
                rows.append(
                    measure_faults(
                        size.workers, size.fault_trials, size.fault_s, kills_every_s, seed
                    )
                )
                say(fault_text(rows[-1]))
    if out is not None:
        write_text(out, json.dumps(measured.to_dict(), indent=1) + "\n")
    return measured


def _quality(
    measured: SearchBench,
    size: Size,
    shards: Path | None,
    plan: Plan | None,
    study: Path | None,
    say: Callable[[str], None],
) -> None:
    space = paper_space()
    surfaces = synthetic(space)
    seeds = range(size.seeds)
    measured.quality += measure_quality(surfaces, space, trials=size.trials, seeds=seeds, say=say)
    start = start_values(surfaces, space, 200)
    if study is not None:
        found = fit_surface(study)
        measured.fitted = found.quality()
        surface = {"fitted": (found.surface, None)}
        measured.quality += measure_quality(
            surface, found.space, trials=size.trials, seeds=seeds, say=say
        )
        start |= start_values(surface, found.space, 200)
    elif shards is not None and plan is not None:
        trained = {"cohort": (trained_surface(shards, plan), None)}
        measured.quality += measure_quality(
            trained, plan.space, trials=size.trials, seeds=seeds, say=say
        )
        start |= start_values(trained, plan.space, min(10, size.trials))
    measured.lost = lost_in_parallel(measured.quality, start)


def _overhead(
    measured: SearchBench,
    size: Size,
    shards: Path | None,
    plan: Plan | None,
    say: Callable[[str], None],
) -> None:
    for sampler in ("gp", "tpe"):
        say(f"suggestions of {sampler}")
        measured.suggest_s[sampler] = suggest_seconds(size.finished, sampler, 3)
    say(f"loading {size.records} trials")
    measured.load_s = load_seconds(size.records, bench_plan("gp", 0))
    say(f"{size.workers} workers on trials of {size.trial_s} s")
    measured.throughput = measure_throughput(size.workers, size.throughput_trials, size.trial_s)
    if shards is not None and plan is not None:
        measured.outside = outside_training(shards, plan, size.trials, say)


def _plan_on(shards: Path, size: Size) -> Plan:
    """The paper's space on a cohort, as `immo tune` has it."""
    from immo_hpc.workflow.train import settings_for

    manifest = read_manifest(shards)
    assignments = [f"train.epochs={size.epochs}"] if size.epochs else []
    config = settings_for(manifest, shards, None, "default", assignments)
    space, _ = build_space(list(manifest.features), config)
    return replace(
        bench_plan("gp", 0),
        shards=str(shards),
        data=manifest_checksum(shards),
        config=config,
        space=space,
    )
