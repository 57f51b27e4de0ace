"""Sets of shards that grow: merged, appended to, and rid of what only earlier ones need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from immo_hpc import files
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.read import read_cohorts
from immo_hpc.data.shards import append_cohort, merge_shards
from immo_hpc.data.shards.grow import Appended
from immo_hpc.data.shards.history import prune_shards
from immo_hpc.errors import UsageError
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.prepare import CohortOptions
from immo_hpc.workflow.shards.text import counted, size_text

_MOST_DRIFTED = 10
_DRIFT_SUFFIXES = (".tsv", ".csv", ".json")


def merge(folders: Sequence[Path], out: Path) -> Outcome:
    """Put sets of one preparation together in the new folder ``out``; see `merge_shards`."""
    manifest = merge_shards(folders, out)
    values = {
        "shards": str(out),
        "sets": [str(folder) for folder in folders],
        "samples": manifest.num_samples,
        "splits": dict(manifest.splits),
    }
    text = (
        f"{out}: {manifest.num_samples} samples of {len(folders)} sets in "
        f"{counted(len(manifest.shards), 'shard')}"
    )
    return Outcome(values, text)


def append(
    folder: Path,
    cohorts: Sequence[Path],
    options: CohortOptions,
    *,
    skip_known: bool = False,
    add_features: bool = False,
    drift: Path | None = None,
) -> Outcome:
    """Add cohorts to a set; see `append_cohort`.

    Args:
        folder: Folder of the set.
        cohorts: Folders or files that together are what comes.
        options: What the user says about them.
        skip_known: Leave out what is there already.
        add_features: Let unknown features join their layer.
        drift: File for the drift of every feature: .tsv, .csv or .json.

    Raises:
        UsageError: If the suffix of ``drift`` is unknown, or its folder is absent.
        ShardError, CohortError, BusyError, OutputError: As `append_cohort`.
    """
    if drift is not None and drift.suffix not in _DRIFT_SUFFIXES:
        message = (
            f"--drift {drift}: expected a file ending in one of {', '.join(_DRIFT_SUFFIXES)}. "
            "Give it one of these endings."
        )
        raise UsageError(message)
    if drift is not None and not drift.absolute().parent.is_dir():
        message = (
            f"--drift {drift}: expected a file in a folder that exists. Make the folder first."
        )
        raise UsageError(message)
    read_notices: list[str] = []

    def read(scratch: Path) -> Cohort:
        cohort = read_cohorts(cohorts, **asdict(options), scratch=scratch)
        read_notices.extend(cohort.notices)
        return cohort

    appended = append_cohort(
        folder,
        read,
        source=" + ".join(path.name for path in cohorts),
        skip_known=skip_known,
        add_features=add_features,
    )
    if drift is not None and not appended.is_repeated:
        _write_drift(appended.drift, drift)
    notices = (*read_notices, *appended.notices)
    return Outcome(_appended(folder, appended), "\n".join(_append_lines(folder, appended)), notices)


def prune(folder: Path) -> Outcome:
    """Drop earlier generations of a set and the files only they need; see `prune_shards`."""
    pruned = prune_shards(folder)
    values = {"shards": str(folder), **asdict(pruned)}
    dropped = ", ".join(map(str, pruned.generations)) or "none"
    text = (
        f"{folder}: earlier generations dropped: {dropped}; "
        f"{counted(len(pruned.files), 'file')} removed, "
        f"{size_text(pruned.bytes)}"
    )
    return Outcome(values, text)


def _appended(folder: Path, appended: Appended) -> dict[str, Any]:
    growth = appended.growth
    drifted = appended.drift[appended.drift["drifted"].to_numpy(dtype=bool)]
    return {
        "shards": str(folder),
        "samples": appended.manifest.num_samples,
        "generation": appended.manifest.generation,
        "is_repeated": appended.is_repeated,
        "added": None if growth is None else asdict(growth),
        "added_splits": dict(appended.splits),
        "drifted": json.loads(drifted.to_json(orient="records", double_precision=15)),
    }


def _append_lines(folder: Path, appended: Appended) -> list[str]:
    growth, manifest = appended.growth, appended.manifest
    lines = [f"{folder}: {manifest.num_samples} samples, generation {manifest.generation}"]
    if growth is None or appended.is_repeated:
        return lines
    sides = ", ".join(f"{side} {count}" for side, count in appended.splits.items())
    lines.append(f"  new: {growth.samples} samples" + (f" ({sides})" if sides else ""))
    if growth.completed:
        lines.append(f"  samples that got further layers: {growth.completed}")
    lines += [
        f"  new layer {layer}: {manifest.num_measured(layer)} samples x "
        f"{len(manifest.features[layer])} features"
        for layer in growth.layers
    ]
    lines += [f"  features that joined {name}: {n}" for name, n in growth.features.items()]
    drift = appended.drift
    if not len(drift):
        return [*lines, "  drift: no new training sample of a known layer to measure it on"]
    drifted = drift[drift["drifted"].to_numpy(dtype=bool)]
    lines.append(f"  drift: {len(drifted)} of {len(drift)} features have moved; most of all:")
    for row in drift.head(_MOST_DRIFTED).itertuples():
        lines.append(
            f"    {row.layer:<10} {row.feature:<24} shift {row.shift:+.2f} +- {row.shift_se:.2f}, "
            f"mean {row.mean:+.2f}, sd {row.sd:.2f}, outside {row.below + row.above:.0%}"
        )
    return lines


def _write_drift(table: pd.DataFrame, path: Path) -> None:
    if path.suffix == ".json":
        text = table.to_json(orient="records", double_precision=15, indent=1) + "\n"
    else:
        text = table.to_csv(sep="\t" if path.suffix == ".tsv" else ",", index=False)
    files.write_text(path, text)
