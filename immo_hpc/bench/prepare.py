"""Time and memory of preparing tables, beside pandas doing the same in the plain way.

Every measurement is a process of its own (`immo_hpc.bench.prepare_child`), so that its peak of
resident memory is its own. Inputs were just written, so they are read from the page cache.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from immo_hpc.bench.prepare_data import write_tables
from immo_hpc.errors import ImmoError
from immo_hpc.files import write_text
from immo_hpc.train.environment import describe_environment, package_versions, source_commit

CONTENDERS = ("immo", "pandas")
FORMATS = ("csv", "parquet")


@dataclass(frozen=True)
class Size:
    """Samples and features of the one layer of a cohort."""

    samples: int
    features: int


# Each more than doubles, from below the size of IBDMDB's layers to a large cohort's width.
SAMPLE_SIZES = (Size(2_000, 4_000), Size(4_000, 4_000), Size(8_000, 4_000))
FEATURE_SIZES = (Size(4_000, 2_000), Size(4_000, 4_000), Size(4_000, 8_000))
# Without pandas, which would hold several times the table: whether memory grows any further.
LARGE_SIZES = (Size(16_000, 4_000), Size(32_000, 4_000), Size(4_000, 16_000))
QUICK_SIZES = (Size(200, 100), Size(400, 100), Size(200, 200))


@dataclass(frozen=True)
class PrepareRow:
    """One contender on one input.

    Attributes:
        contender: 'immo' or 'pandas'.
        format: 'csv' or 'parquet'.
        samples: Samples of the layer.
        features: Its features.
        input_mb: Size of the table's file, 10^6 bytes.
        seconds: Time of each run, imports left out.
        mb_per_s: ``input_mb`` over the median time.
        rss_mb: Largest peak of resident memory of the process, 10^6 bytes, imports included.
        rss_before_mb: The same before the first row was read.
    """

    contender: str
    format: str
    samples: int
    features: int
    input_mb: float
    seconds: list[float]
    mb_per_s: float
    rss_mb: float
    rss_before_mb: float


@dataclass(frozen=True)
class PrepareBench:
    """All measurements, and with what they were made.

    Attributes:
        rows: One for each input and contender.
        workers: Processes of 'immo'.
        environment: Machine and threads.
        versions: Package versions.
        commit: Commit of the source, if it is a checkout.
        date: UTC, ISO 8601.
    """

    rows: list[PrepareRow]
    workers: int
    environment: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    date: str

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)

    def text(self) -> str:
        """The result as a table."""
        lines = [
            f"{self.environment['device_name']}, {self.workers} process(es); median of "
            f"{len(self.rows[0].seconds)}, input from the page cache",
            f"{'table':<8}{'samples':>9}{'features':>9}{'MB':>8}  {'who':<8}{'s':>8}{'MB/s':>8}"
            f"{'ns/value':>10}{'peak MB':>9}",
        ]
        for row in self.rows:
            median = statistics.median(row.seconds)
            lines.append(
                f"{row.format:<8}{row.samples:>9}{row.features:>9}{row.input_mb:>8.1f}  "
                f"{row.contender:<8}{median:>8.2f}{row.mb_per_s:>8.1f}"
                f"{1e9 * median / (row.samples * row.features):>10.1f}{row.rss_mb:>9.0f}"
            )
        return "\n".join(lines)


def bench_prepare(
    *,
    sizes: Sequence[Size] = (*SAMPLE_SIZES, *FEATURE_SIZES),
    large: Sequence[Size] = (),
    repeats: int = 3,
    workers: int = 1,
    folder: Path | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> PrepareBench:
    """Time preparing over files beside pandas, for tables of several sizes and formats.

    Args:
        sizes: Sizes of the layer; one that comes twice is measured once.
        large: Further sizes, of 'immo' alone.
        repeats: Timed runs of each.
        workers: Processes of 'immo'.
        folder: Folder for tables and shards, removed at the end; the system's if None.
        out: JSON file to write the result to.
        say: Told each case before it is timed.

    Raises:
        ImmoError: If a contender fails.
        OutputError: If ``out`` cannot be written.
    """
    rows: list[PrepareRow] = []
    cases = dict.fromkeys(sizes, CONTENDERS) | dict.fromkeys(large, CONTENDERS[:1])
    for size, contenders in cases.items():
        for kind in FORMATS:
            say(f"{kind}, {size.samples} samples, {size.features} features")
            with tempfile.TemporaryDirectory(prefix="immo-bench-", dir=folder) as place:
                rows += _measure(Path(place), size, kind, contenders, repeats, workers)
    result = PrepareBench(
        rows,
        workers,
        describe_environment(torch.device("cpu")),
        package_versions(),
        source_commit(),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if out is not None:
        write_text(out, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def _measure(
    place: Path, size: Size, kind: str, contenders: Sequence[str], repeats: int, workers: int
) -> list[PrepareRow]:
    table = write_tables(place / "cohort", size.samples, size.features, kind)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        # Each goes first in turn, so that a drift of the machine favours neither.
        for name in contenders if repeat % 2 == 0 else contenders[::-1]:
            runs[name].append(_run(name, table, place / f"{name}-{repeat}", workers))
    megabytes = table.stat().st_size / 1e6
    return [
        PrepareRow(
            contender=name,
            format=kind,
            samples=size.samples,
            features=size.features,
            input_mb=megabytes,
            seconds=[run["seconds"] for run in found],
            mb_per_s=megabytes / statistics.median(run["seconds"] for run in found),
            rss_mb=max(run["rss_mb"] for run in found),
            rss_before_mb=max(run["rss_before_mb"] for run in found),
        )
        for name, found in runs.items()
    ]


def _run(name: str, table: Path, out: Path, workers: int) -> dict[str, float]:
    words = [sys.executable, "-m", "immo_hpc.bench.prepare_child", name, table, out, workers]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        message = f"bench prepare: '{name}' failed on {table}: {last}"
        raise ImmoError(message)
    values: dict[str, float] = json.loads(done.stdout)
    return values
