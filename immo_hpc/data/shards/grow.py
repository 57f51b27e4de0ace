"""A set of shards that grows: new samples, new layers, features that join a layer.

Nothing that a manifest lists is ever changed: new files come beside the old ones, and one
rename of the manifest switches to them. Killed at any moment, the set is as it was, or grown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from immo_hpc import files
from immo_hpc._version import __version__
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.manifest import Growth, Manifest, read_manifest, write_manifest
from immo_hpc.data.shards.arrivals import content_digest
from immo_hpc.data.shards.check import shard_size_problem
from immo_hpc.data.shards.drift import Drift, drift_sentences
from immo_hpc.data.shards.grow_plan import GrowthPlan, completing, plan_growth, prepared_new
from immo_hpc.data.shards.history import (
    LEASE_NAME,
    SCRATCH_NAME,
    keep_manifest,
    leftovers,
    remove,
)
from immo_hpc.data.shards.plan import (
    ROWS_PER_SHARD,
    ShardPlan,
    merged_patterns,
    patterns_in,
)
from immo_hpc.data.shards.rewrite import rewrite_shard
from immo_hpc.data.shards.write import write_shard
from immo_hpc.errors import BusyError, ShardError
from immo_hpc.lease import Lease, hold


@dataclass(frozen=True)
class Appended:
    """What an append did.

    Attributes:
        manifest: The set as it is now.
        growth: What was added; None if there was nothing to add.
        is_repeated: True if the set had grown by just this before, so that nothing was done.
        splits: New samples on each side.
        drift: One row a feature of the new training samples, most drifted first (`Drift.table`).
        notices: What was left out, assumed or noticed, as sentences.
    """

    manifest: Manifest
    growth: Growth | None
    is_repeated: bool
    splits: Mapping[str, int]
    drift: pd.DataFrame
    notices: tuple[str, ...]


def append_cohort(
    folder: Path,
    read: Callable[[Path], Cohort],
    *,
    source: str,
    skip_known: bool = False,
    add_features: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> Appended:
    """Add a cohort to a set of shards, with the preparation that was fitted for it.

    Samples that the set does not have are added; a new sample of a known subject goes to that
    subject's side, others by `assign_new`. A layer that the set does not have is fitted on the
    training samples that bring it, and added to all samples that have it. Nothing else is
    fitted again, and no stored value changes.

    Args:
        folder: Folder of the set.
        read: Gives what comes, original units, in memory or in the scratch folder it is given,
            which is empty, in the file system of the set, and gone afterwards.
        source: Where it comes from, in words.
        skip_known: Leave out what the set has already, instead of refusing the cohort.
        add_features: Let unknown features join their layer, instead of leaving them out.
        rows_per_shard: Samples in a file, >= 1.

    Raises:
        ShardError: If the set is damaged, or a value cannot be stored.
        CohortError: If the cohort does not fit the set, or brings what is there already.
        BusyError: If another process is changing the set.
        OutputError: If the disk is full or the folder cannot be written; the set is as it was.
    """
    folder = Path(folder)
    read_manifest(folder)
    with hold(folder / LEASE_NAME) as lease:
        manifest = read_manifest(folder)
        remove(leftovers(folder, manifest))
        try:
            cohort = read(_scratch(folder))
            content = content_digest(cohort, [skip_known, add_features])
            if manifest.history and manifest.history[-1].content == content:
                return _repeated(manifest)
            plan = plan_growth(folder, manifest, cohort, content, skip_known, add_features)
            if not len(plan.arrivals.new) and not len(plan.arrivals.known):
                notices = (*plan.arrivals.notices, "nothing to add: the set is as it was.")
                return Appended(manifest, None, False, {}, plan.drift.table(), notices)
            grown = _write(plan, source, content, rows_per_shard)
            _switch(folder, manifest, grown, lease)
        finally:
            # By what the manifest says now: if it was switched, its files are no leftovers.
            # Those of a process that took over are not ours to remove.
            if lease.is_ours():
                remove(leftovers(folder, read_manifest(folder)))
    drift = plan.drift.table()
    notices = (*plan.arrivals.notices, *plan.grown.notices, *drift_sentences(plan.drift, drift))
    return Appended(grown, grown.history[-1], False, _counts(plan.sides), drift, notices)


def _scratch(folder: Path) -> Path:
    scratch = folder / SCRATCH_NAME
    try:
        scratch.mkdir()
    except OSError as error:
        files.refuse_output(scratch, error)
    return scratch


def _switch(folder: Path, manifest: Manifest, grown: Manifest, lease: Lease) -> None:
    """Make a set what its new manifest says, in one rename."""
    if not lease.is_ours():
        message = (
            f"{folder}: this process stood still for so long that another one took over. The "
            "set is as that one left it; repeat the command."
        )
        raise BusyError(message)
    listed = {entry.name for entry in manifest.shards}
    for entry in grown.shards:
        if entry.name not in listed and (problem := shard_size_problem(folder / entry.name, entry)):
            raise ShardError(problem)
    keep_manifest(folder, manifest)
    write_manifest(grown, folder)


def _repeated(manifest: Manifest) -> Appended:
    notice = (
        "the set has just this in it already, from the same command: nothing was done "
        f"(generation {manifest.generation})."
    )
    nothing = Drift({}, {}, {}, {}).table()
    return Appended(manifest, manifest.history[-1], True, {}, nothing, (notice,))


def _write(plan: GrowthPlan, source: str, content: str, rows_per_shard: int) -> Manifest:
    """Write all new files; the manifest that lists them is given back, not written."""
    manifest = plan.manifest
    is_changed = plan.features != dict(manifest.features)
    measured = np.zeros((len(plan.index.uid), len(plan.features)), dtype=np.bool_)
    measured[:, : len(manifest.features)] = plan.index.measured
    new_plan = _new_shards(plan, rows_per_shard)
    shards = list(manifest.shards)
    number = len(new_plan.names)
    for place, entry in enumerate(manifest.shards):
        samples = plan.index.of_shard(place)
        low, high = np.searchsorted(plan.arrivals.place, [samples.start, samples.stop])
        if not is_changed and low == high:
            continue
        name = f"{plan.prefix}{number:05d}.parquet"
        shards[place], measured[samples.start : samples.stop] = rewrite_shard(
            plan.folder,
            manifest,
            entry,
            name,
            plan.features,
            partial(completing, plan, samples.start),
        )
        number += 1
    written = [
        write_shard(new_plan, name, plan.folder, partial(prepared_new, plan))
        for name in new_plan.names
    ]
    patterns = [patterns_in(measured, list(plan.features)), *(part.patterns for part in written)]
    growth = Growth(
        source=source,
        samples=len(plan.arrivals.new),
        completed=len(plan.arrivals.known),
        layers=tuple(name for name in plan.features if name not in manifest.features),
        features={name: len(joined) for name, joined in plan.grown.joined.items()},
        content=content,
        created_by={"immo-hpc": __version__, "pyarrow": pa.__version__},
    )
    told = dict.fromkeys([*manifest.notices, *plan.arrivals.cohort.notices])
    return replace(
        manifest,
        features=plan.features,
        shards=(*shards, *(part.file for part in written)),
        patterns=merged_patterns(patterns),
        splits=_summed(manifest.splits, _counts(plan.sides)),
        preparation=plan.grown.preparation.to_dict(),
        notices=tuple(told),
        history=(*manifest.history, growth),
    )


def _new_shards(plan: GrowthPlan, rows_per_shard: int) -> ShardPlan:
    """The new samples as shards of the set, with its columns."""
    new = plan.arrivals.new
    table = plan.arrivals.table.take(pa.array(new))
    split = pa.nulls(len(new), pa.string()) if plan.sides is None else pa.array(plan.sides.tolist())
    table = table.add_column(2, "split", split.cast(pa.string()))
    return ShardPlan(
        features=plan.features,
        roles=plan.manifest.roles,
        samples=table.combine_chunks(),
        columns=plan.manifest.columns,
        splits=_counts(plan.sides),
        dtype=plan.manifest.dtype,
        rows_per_shard=rows_per_shard,
        prefix=plan.prefix,
    )


def _counts(sides: NDArray[np.str_] | None) -> dict[str, int]:
    names, counts = np.unique([] if sides is None else sides, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _summed(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
