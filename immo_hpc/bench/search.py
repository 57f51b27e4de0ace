"""Quality, overhead and faults of the search, with the limits beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from immo_hpc.bench.search_overhead import load_seconds, outside_training, suggest_seconds
from immo_hpc.bench.search_processes import (
    Faults,
    Throughput,
    bench_plan,
    measure_faults,
    measure_throughput,
)
from immo_hpc.bench.search_quality import (
    Quality,
    lost_in_parallel,
    measure_quality,
    paper_space,
    start_values,
    synthetic,
    trained_surface,
)
from immo_hpc.data.manifest import read_manifest
from immo_hpc.errors import UsageError
from immo_hpc.files import write_text
from immo_hpc.search.build import build_space
from immo_hpc.search.study import Plan
from immo_hpc.train.environment import describe_environment, package_versions, source_commit
from immo_hpc.train.run import manifest_checksum

PARTS = ("quality", "overhead", "faults")
# What is accepted: seconds, shares.
LIMITS: Mapping[str, float] = {
    "suggest at 200": 1.0,
    "load 5000 trials": 5.0,
    "outside training": 0.05,
    "throughput of 8": 0.9,
    "lost in parallel": 0.05,
}


@dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
        trials: Trials of a search.
        seeds: Searches of each kind.
        finished: Finished trials at which a suggestion is timed.
        records: Trials of the study that is loaded.
        workers: Processes at once.
        throughput_trials: Trials of the fixed length.
        trial_s: That length, seconds.
        fault_trials: Trials of a study whose workers are killed.
        fault_s: Length of its trials, seconds.
        repetitions: Such studies.
        kill_every_s: Mean seconds between two kills.
        epochs: Most epochs of a trial on shards; 0: those of the configuration.
    """

    trials: int = 50
    seeds: int = 10
    finished: tuple[int, ...] = (50, 200, 1000)
    records: int = 5000
    workers: int = 8
    throughput_trials: int = 80
    trial_s: float = 10.0
    fault_trials: int = 200
    fault_s: float = 1.0
    repetitions: int = 20
    kill_every_s: float = 3.0
    epochs: int = 0


QUICK = Size(
    trials=14,
    seeds=1,
    finished=(50,),
    records=200,
    workers=2,
    throughput_trials=6,
    trial_s=0.5,
    fault_trials=12,
    fault_s=0.1,
    repetitions=1,
    kill_every_s=5.0,
    epochs=3,
)


@dataclass
class SearchBench:
    """What was measured; parts that were not asked for are empty."""

    quality: list[Quality] = field(default_factory=list)
    lost: dict[str, float] = field(default_factory=dict)
    suggest_s: dict[str, dict[int, float]] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)
    outside: dict[str, float] = field(default_factory=dict)
    throughput: Throughput | None = None
    faults: list[Faults] = field(default_factory=list)
    undisturbed: list[Faults] = field(default_factory=list)
    size: Size = field(default_factory=Size)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, with limits, machine, versions, commit and date."""
        return {
            **asdict(self),
            "limits": dict(LIMITS),
            "environment": describe_environment(torch.device("cpu")),
            "versions": package_versions(),
            "commit": source_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def text(self) -> str:
        """The result as short tables."""
        lines = []
        for row in self.quality:
            regret = "" if row.regret is None else f"  {row.regret:.4f} above the optimum"
            lines.append(
                f"{row.surface:<10}{row.sampler:<8}{row.workers:>2} at once  "
                f"best {row.mean:.4f}{regret}"
            )
        limit = LIMITS["lost in parallel"]
        for name, share in self.lost.items():
            lines.append(
                f"{name}: {share:+.1%} of the improvement lost in parallel (<= {limit:.0%})"
            )
        for sampler, times in self.suggest_s.items():
            told = ", ".join(f"{seconds:.2f} s at {count}" for count, seconds in times.items())
            lines.append(f"suggest, {sampler}: {told} (<= {LIMITS['suggest at 200']} s at 200)")
        if self.load_s:
            told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.load_s.items())
            lines.append(f"{self.size.records} trials: {told} (load <= 5 s for 5000)")
        if self.throughput is not None:
            lines.append(
                f"{self.throughput.workers} workers on trials of {self.throughput.trial_s} s: "
                f"{self.throughput.share:.1%} of the time in trials (>= 90 % for 8)"
            )
        if self.outside:
            lines.append(f"outside training: {self.outside['share']:.1%} (<= 5 %)")
        lines += [_fault_text(item) for item in (*self.faults, *self.undisturbed)]
        return "\n".join(lines)


def bench_search(
    shards: Path | None = None,
    *,
    quick: bool = False,
    parts: Sequence[str] = PARTS,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SearchBench:
    """Measure the search.

    Args:
        shards: Shards to search on too; without them only surfaces and sleeping trials.
        quick: Small sizes, to see that everything works; the figures mean little.
        parts: Of `PARTS`.
        out: JSON file to write; one that exists is replaced.
        say: Told what is being done.

    Raises:
        UsageError: If a part is unknown.
        ShardError: If the shards cannot be read.
        OutputError: If ``out`` cannot be written.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        message = f"--only: unknown {unknown}; there are {', '.join(PARTS)}."
        raise UsageError(message)
    size = QUICK if quick else Size()
    measured = SearchBench(size=size)
    plan = None if shards is None else _plan_on(shards, size)
    if "quality" in parts:
        _quality(measured, size, shards, plan, say)
    if "overhead" in parts:
        _overhead(measured, size, shards, plan, say)
    if "faults" in parts:
        for seed in range(size.repetitions):
            arguments = (size.workers, size.fault_trials, size.fault_s)
            for every_s, rows in (
                (size.kill_every_s, measured.faults),
                (0.0, measured.undisturbed),
            ):
                rows.append(measure_faults(*arguments, every_s, seed))
                say(_fault_text(rows[-1]))
    if out is not None:
        write_text(out, json.dumps(measured.to_dict(), indent=1) + "\n")
    return measured


def _quality(
    measured: SearchBench,
    size: Size,
    shards: Path | None,
    plan: Plan | None,
    say: Callable[[str], None],
) -> None:
    space = paper_space()
    surfaces = synthetic(space)
    seeds = range(size.seeds)
    measured.quality += measure_quality(surfaces, space, trials=size.trials, seeds=seeds, say=say)
    start = start_values(surfaces, space, 200)
    if shards is not None and plan is not None:
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


def _fault_text(item: Faults) -> str:
    sound = "sound" if item.is_sound else "NOT SOUND"
    return (
        f"{item.kills} kills over {item.trials} trials: {sound}; {item.taken_over} taken over, "
        f"{item.lost} lost and tried again, {item.open} open, {item.missing} missing, "
        f"{item.repeated} measured twice; best {item.best:.4f}, {item.seconds:.0f} s"
    )
