"""Rate and memory of the loader beside other loaders and beside reading the same files.

Every contender reads the same cohort, larger than its memory limit, in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from immo_hpc.bench.kernels_claims import Claim
from immo_hpc.bench.loader_child import FLOORS, State
from immo_hpc.bench.loader_claims import claims_of
from immo_hpc.bench.loader_contenders import CONTENDERS
from immo_hpc.bench.loader_copies import write_copy
from immo_hpc.bench.loader_data import BenchCohort, cohort_of, describe, described
from immo_hpc.bench.loader_limit import described_limit
from immo_hpc.bench.loader_render import table
from immo_hpc.bench.loader_rows import Row
from immo_hpc.bench.loader_runs import Settings, measure
from immo_hpc.data.stream.cache import group_limit
from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import write_text
from immo_hpc.train.environment import describe_environment, package_versions, source_commit

FORMAT_VERSION = 1
_NAME = "immo-bench-loader"
# The second cohort only tells how much is read.
_SECOND_SHARE = 0.25
_QUICK_GB = 0.2
# Beyond this others take processor time from the contenders.
_IDLE_LOAD = 0.75


@dataclass(frozen=True)
class LoaderBench:
    """All rows of one run.

    Attributes:
        rows: Contenders on both cohorts.
        claims: What the project says about its loader, and what was found.
        cohorts: By name: samples, features by layer, bytes of measured values and of all values
            if every sample had every layer.
        limit: How memory was limited, in words.
        settings: Batch size, memory limit, rounds and so on.
        notes: What was left out, and why.
        environment: Device, threads, commit, versions and date.
        format_version: Version of this layout.
    """

    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    cohorts: dict[str, dict[str, Any]]
    limit: str
    settings: dict[str, Any]
    notes: tuple[str, ...]
    environment: dict[str, Any]
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)

    def text(self) -> str:
        """The result as a table."""
        return table(self.to_dict())


def bench_loader(
    *,
    gb: float = 8.0,
    memory_gb: float = 2.0,
    batch_size: int = 1024,
    repeats: int = 5,
    seconds: float = 10.0,
    quick: bool = False,
    folder: Path | None = None,
    keep: bool = False,
    beside: Sequence[str] | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LoaderBench:
    """Measure the loader.

    Args:
        gb: Measured values of the cohort, 10^9 bytes.
        memory_gb: Memory limit of each process, 10^9 bytes.
        batch_size: Samples in a batch.
        repeats: Rounds; in each, every contender runs two epochs from each state of the cache.
        seconds: After so long an epoch of another loader ends; its rate is that of its batches.
        quick: A small cohort and few rounds, to see that it works.
        folder: Where the cohort and its copies are written; they take five times ``gb``.
        keep: Leave them there, and use what an earlier run left.
        beside: Other loaders to time, by name; all that are installed if None.
        out: JSON file to write the result to, after each round.
        say: Told what comes next.

    Raises:
        ImmoError: If the loader fails.
        UsageError: If ``beside`` names a loader that is not known.
        OutputError: If there is not enough space, or ``out`` cannot be written.
    """
    if quick:
        gb, repeats, seconds = min(gb, _QUICK_GB), min(repeats, 2), min(seconds, 1.0)
    memory_bytes, limit = int(1e9 * memory_gb), group_limit()
    cohorts = {
        "ibdmdb": cohort_of(1e9 * gb, "ibdmdb"),
        "60%": cohort_of(1e9 * gb * _SECOND_SHARE, "60%"),
    }
    chosen = _chosen(beside)
    present = [name for name in chosen if not CONTENDERS[name].absent()]
    notes = [
        f"{name}: not installed: {', '.join(CONTENDERS[name].absent())}"
        for name in chosen
        if name not in present
    ]
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > _IDLE_LOAD * cores:
        notes.append(f"the machine was busy: a load of {load:.1f} on {cores} cores at the start")
    states: tuple[State, ...] = ("cold", "warm")
    if limit is not None and limit < 1.1e9 * gb:
        states = ("cold",)
        notes.append(f"warm: the control group's {limit / 1e9:g} GB do not hold the files")
    settings = Settings(batch_size, memory_bytes, repeats, seconds, states)
    root = Path(tempfile.gettempdir() if folder is None else folder) / _NAME
    try:
        _write(cohorts["ibdmdb"], root / "ibdmdb", [CONTENDERS[name].copy for name in present], say)
        _write(cohorts["60%"], root / "absent", ["shards"], say)
        names = [*FLOORS, *present]
        few = measure("60%", cohorts["60%"], root / "absent", ["immo"], settings, say)

        def write(rows: list[Row], rounds: int) -> LoaderBench:
            """The result so far; hours of rounds are not lost with the last one."""
            done = replace(settings, repeats=rounds)
            result = _result([*rows, *few], cohorts, done, limit, notes, present)
            if out is not None:
                write_text(out, json.dumps(result.to_dict()) + "\n")
            return result

        rows = measure(
            "ibdmdb", cohorts["ibdmdb"], root / "ibdmdb", names, settings, say, keep=write
        )
        return write(rows, repeats)
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)


def _chosen(beside: Sequence[str] | None) -> list[str]:
    if beside is None:
        return list(CONTENDERS)
    others = [name for name in CONTENDERS if name != "immo"]
    if unknown := [name for name in beside if name not in others]:
        message = (
            f"--beside: expected names of other loaders ({'; '.join(others)}) or 'none', "
            f"found '{unknown[0]}'."
        )
        raise UsageError(message)
    return ["immo", *beside]


def _result(
    rows: Sequence[Row],
    cohorts: Mapping[str, BenchCohort],
    settings: Settings,
    limit: int | None,
    notes: Sequence[str],
    present: Sequence[str],
) -> LoaderBench:
    return LoaderBench(
        rows=tuple(rows),
        claims=claims_of(rows, settings.memory_bytes, cohorts["60%"].full_bytes),
        cohorts={name: _numbers(cohort) for name, cohort in cohorts.items()},
        limit=described_limit(settings.memory_bytes, limit),
        settings=asdict(settings),
        notes=tuple(notes),
        environment={
            **describe_environment(torch.device("cpu")),
            "versions": {**package_versions(), **_other_versions(present)},
            "commit": source_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def _write(
    cohort: BenchCohort, folder: Path, copies: Sequence[str], say: Callable[[str], None]
) -> None:
    """Write the copies that are not in ``folder`` yet."""
    if folder.exists() and described(folder) != cohort:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    describe(cohort, folder)
    absent = [kind for kind in dict.fromkeys(copies) if not (folder / kind).exists()]
    needed = int(1.05 * cohort.value_bytes * len(absent))
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = (
            f"{folder}: the copies of the cohort take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB "
            "are free; name another --folder, or a smaller --gb."
        )
        raise OutputError(message)
    for kind in absent:
        say(f"writing {cohort.value_bytes / 1e9:.2f} GB as {kind}")
        write_copy(cohort, kind, folder)


def _numbers(cohort: BenchCohort) -> dict[str, Any]:
    return {
        "samples": cohort.samples,
        "features": {name: len(features) for name, features in cohort.features.items()},
        "value_bytes": cohort.value_bytes,
        "full_bytes": cohort.full_bytes,
    }


def _other_versions(contenders: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import version

    needed = {package for name in contenders for package in CONTENDERS[name].needs}
    return {package: version(package) for package in sorted(needed)}
