"""What the bench of the search measured, as tables and as JSON, with the limits beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from immo_hpc.bench.search_processes import Faults, Throughput
from immo_hpc.bench.search_quality import Quality
from immo_hpc.train.environment import describe_environment, package_versions, source_commit

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
        undisturbed: Studies of the same seeds without kills, for comparison.
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
    undisturbed: int = 5
    kill_every_s: float = 5.0
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
    undisturbed=1,
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
    fitted: dict[str, float] = field(default_factory=dict)
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
        if self.fitted:
            lines.append(
                "fitted: a surface through {trials:.0f} trainings of the cohort; of those left out "
                "it explains {r2:.0%}, error {rmse:.4f} where they spread by {spread:.4f}; rank "
                "correlation {rank:.2f} in the better half".format(**self.fitted)
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
        lines += [fault_text(item) for item in (*self.faults, *self.undisturbed)]
        return "\n".join(lines)


def fault_text(item: Faults) -> str:
    """One study whose workers were killed, as a line."""
    sound = "sound" if item.is_sound else "NOT SOUND"
    return (
        f"{item.kills} kills over {item.trials} trials: {sound}; {item.taken_over} taken over, "
        f"{item.lost} lost and tried again, {item.open} open, {item.missing} missing, "
        f"{item.repeated} measured twice; best {item.best:.4f}, {item.seconds:.0f} s"
    )
