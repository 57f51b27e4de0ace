"""The cohort of `immo bench loader`: any of its values can be told without reading it.

A row is a stretch of one pool of random numbers that begins at a place of its own. So shards and
copies are written, and batches are checked, without the cohort ever being in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc import files
from immo_hpc.data.manifest import write_manifest
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards.plan import plan_shards
from immo_hpc.data.shards.write import write_shard
from immo_hpc.data.simulate import PATTERNS

Absent = Literal["ibdmdb", "60%"]
LAYERS = ("mg", "mt", "mb")
# Together 20,000 features.
WIDTHS = (6_000, 8_000, 6_000)
_POOL_VALUES = 2**24
_MISSING = 0.05
_DESCRIPTION = "cohort.json"


@dataclass(frozen=True)
class BenchCohort:
    """A cohort that follows from a few numbers.

    Attributes:
        samples: Number of samples.
        widths: Features of each layer.
        absent: Which layers samples lack: 'ibdmdb': patterns as frequent as in IBDMDB; '60%':
            60 % of all (sample, layer) blocks, evenly.
        seed: Seed of everything.
    """

    samples: int
    widths: tuple[int, ...]
    absent: Absent
    seed: int = 0

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """True where a sample has a layer, ``(sample, layer)``, bool."""
        rng = np.random.default_rng([self.seed, 1])
        if self.absent == "ibdmdb":
            table = np.array(list(PATTERNS), dtype=np.bool_)
            counts = np.array(list(PATTERNS.values()))
            return table[rng.choice(len(table), self.samples, p=counts / counts.sum())]
        # Of three layers one or two: 1.2 on average, and no sample without any.
        order = np.argsort(rng.random((self.samples, len(self.widths))), axis=1)
        layers = np.where(rng.random(self.samples) < 0.2, 2, 1)
        return order < layers[:, None]

    @cached_property
    def rows(self) -> dict[str, NDArray[np.int64]]:
        """Samples that have each layer, ``(row,)``, int64, increasing."""
        return {name: np.flatnonzero(self.measured[:, place]) for place, name in enumerate(LAYERS)}

    @cached_property
    def value_bytes(self) -> int:
        """Bytes of all measured values as float32."""
        return int(4 * (self.measured.sum(axis=0) * np.array(self.widths)).sum())

    @property
    def full_bytes(self) -> int:
        """The same if every sample had every layer."""
        return 4 * self.samples * sum(self.widths)

    @property
    def sample_ids(self) -> list[str]:
        """Sample names in order."""
        return [f"s{number:07d}" for number in range(self.samples)]

    def values(self, layer: str, samples: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of a layer for samples that have it, ``(row, feature)``, float32, NaN = missing."""
        width = self.widths[LAYERS.index(layer)]
        windows = np.lib.stride_tricks.sliding_window_view(self._pool, width)
        rows: NDArray[np.float32] = windows[self._starts[layer][samples]]
        return rows

    def take(self, places: NDArray[np.int64]) -> PreparedCohort:
        """Some samples, as a prepared cohort."""
        layers = {}
        for place, name in enumerate(LAYERS):
            rows = np.flatnonzero(self.measured[places, place])
            layers[name] = PreparedLayer(
                name,
                self.features[name],
                self.values(name, places[rows]),
                rows,
                np.ones(len(rows), dtype=np.float32),
            )
        index = pd.Index([f"s{number:07d}" for number in places], name="sample_id")
        return PreparedCohort(pd.DataFrame(index=index), layers)

    @cached_property
    def features(self) -> dict[str, tuple[str, ...]]:
        """Names of the features of each layer."""
        return {
            name: tuple(f"{name}{number}" for number in range(width))
            for name, width in zip(LAYERS, self.widths, strict=True)
        }

    def blocks(self, layer: str, num_samples: int) -> Iterator[NDArray[np.float32]]:
        """Measured rows of a layer for so many samples at a time, in order."""
        measured = self.measured[:, LAYERS.index(layer)]
        for start in range(0, self.samples, num_samples):
            yield self.values(layer, start + np.flatnonzero(measured[start : start + num_samples]))

    @cached_property
    def _starts(self) -> dict[str, NDArray[np.int64]]:
        return {
            name: np.random.default_rng([self.seed, 2, place]).integers(
                0, _POOL_VALUES - width, self.samples
            )
            for place, (name, width) in enumerate(zip(LAYERS, self.widths, strict=True))
        }

    @cached_property
    def _pool(self) -> NDArray[np.float32]:
        rng = np.random.default_rng([self.seed, 0])
        pool = rng.standard_normal(_POOL_VALUES, dtype=np.float32)
        pool[rng.random(_POOL_VALUES, dtype=np.float32) < _MISSING] = np.nan
        return pool


def cohort_of(value_bytes: float, absent: Absent, widths: tuple[int, ...] = WIDTHS) -> BenchCohort:
    """A cohort whose measured values take about ``value_bytes``."""
    few = BenchCohort(10_000, widths, absent)
    return BenchCohort(max(1, round(value_bytes / few.value_bytes * 10_000)), widths, absent)


def describe(cohort: BenchCohort, folder: Path) -> None:
    """Write what ``folder`` holds into it."""
    files.write_text(folder / _DESCRIPTION, json.dumps(asdict(cohort)) + "\n")


def described(folder: Path) -> BenchCohort | None:
    """The cohort whose files are complete in ``folder``; None if there is none."""
    try:
        values = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return BenchCohort(**{**values, "widths": tuple(values["widths"])})


def write_cohort_shards(cohort: BenchCohort, folder: Path) -> None:
    """Write the shards, through the project's writer, a row group at a time."""
    everyone = cohort.take(np.empty(0, dtype=np.int64))
    samples = pd.DataFrame(index=pd.Index(cohort.sample_ids, name="sample_id"))
    plan = plan_shards(PreparedCohort(samples, everyone.layers))
    with files.new_folder(folder) as temporary:
        written = [write_shard(plan, name, temporary, cohort.take) for name in plan.names]
        write_manifest(plan.manifest(written, Preparation({})), temporary)
