"""Sets of shards: what is in them, whether they are sound, and how they grow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from immo_hpc import files
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.manifest import Manifest, ShardFile, read_manifest
from immo_hpc.data.read import read_cohorts
from immo_hpc.data.shards import append_cohort, merge_shards, verify_shards
from immo_hpc.data.shards.check import REMEDY, UNREADABLE, verify_notes
from immo_hpc.data.shards.grow import Appended
from immo_hpc.data.shards.history import kept_generations, prune_shards
from immo_hpc.data.shards.stats import ALL_SIDES, set_statistics
from immo_hpc.errors import ShardError, UsageError
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.prepare import CohortOptions

_MOST_DRIFTED = 10
_DRIFT_SUFFIXES = (".tsv", ".csv", ".json")


def list_shards(folder: Path) -> Outcome:
    """What a set holds: samples, layers, patterns, sides, shards and how it grew.

    Raises:
        ShardError: If the manifest or the footer of a shard cannot be read.
    """
    manifest = read_manifest(folder)
    shards = [_describe(folder / entry.name, entry) for entry in manifest.shards]
    kept = kept_generations(folder, manifest)
    history = [
        {"generation": number, **asdict(growth)}
        for number, growth in enumerate(manifest.history, 2)
    ]
    values = {
        "shards": str(folder),
        "samples": manifest.num_samples,
        "dtype": manifest.dtype,
        "bytes": sum(entry.bytes for entry in manifest.shards),
        "layers": {
            layer: {"samples": manifest.num_measured(layer), "features": len(features)}
            for layer, features in manifest.features.items()
        },
        "patterns": [asdict(pattern) for pattern in manifest.patterns],
        "splits": dict(manifest.splits),
        "source": manifest.source,
        "created_by": dict(manifest.created_by),
        "files": shards,
        "generation": manifest.generation,
        "kept_generations": list(kept),
        "history": history,
    }
    return Outcome(values, "\n".join(_list_lines(folder, manifest, values)), verify_notes(folder))


def verify(folder: Path) -> tuple[Outcome, bool]:
    """Check every byte of a set; the outcome, and True if it is sound.

    The outcome names each problem with shard, row group and column.
    """
    problems = verify_shards(folder)
    if problems:
        text = "\n".join([f"{folder}: {len(problems)} problems", *map("  {}".format, problems)])
        return Outcome({"shards": str(folder), "problems": list(problems)}, text), False
    manifest = read_manifest(folder)
    text = (
        f"{folder}: sound; {manifest.num_samples} samples in {len(manifest.shards)} shards, "
        f"{_size(sum(entry.bytes for entry in manifest.shards))}"
    )
    return Outcome({"shards": str(folder), "problems": []}, text, verify_notes(folder)), True


def statistics(folder: Path) -> tuple[Outcome, pd.DataFrame]:
    """Statistics of the stored z-scores; the outcome, and the table of every feature and side.

    Raises:
        ShardError: If the set is damaged.
    """
    table = set_statistics(folder, read_manifest(folder))
    lines = [f"{folder}: z-scores by layer and side (median feature)"]
    for (layer, side), rows in table.groupby(["layer", "side"], sort=False):
        values = f"mean {rows['mean'].median():+.3f}  sd {rows['sd'].median():.3f}"
        span = f"from {rows['min'].min():+.2f} to {rows['max'].max():+.2f}"
        name = layer if side == ALL_SIDES else ""
        measured = f"{int(rows['measured'].sum()):>9} values"
        lines.append(
            f"  {name:<12} {side:<10} {len(rows):>6} features {measured}  {values}  {span}"
        )
    records = json.loads(table.to_json(orient="records", double_precision=15))
    return Outcome({"shards": str(folder), "statistics": records}, "\n".join(lines)), table


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
        f"{len(manifest.shards)} shards"
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
        f"{folder}: earlier generations dropped: {dropped}; {len(pruned.files)} files removed, "
        f"{_size(pruned.bytes)}"
    )
    return Outcome(values, text)


def _describe(path: Path, entry: ShardFile) -> dict[str, Any]:
    try:
        metadata = pq.read_metadata(path)
    except UNREADABLE as error:
        message = f"{path}: a shard of the manifest that cannot be read ({error}). {REMEDY}"
        raise ShardError(message) from error
    used = sorted(
        {
            metadata.row_group(group).column(column).compression
            for group in range(metadata.num_row_groups)
            for column in range(metadata.num_columns)
        }
    )
    return {
        "name": entry.name,
        "rows": entry.rows,
        "bytes": entry.bytes,
        "row_groups": metadata.num_row_groups,
        "compression": used,
    }


def _list_lines(folder: Path, manifest: Manifest, values: dict[str, Any]) -> list[str]:
    lines = [
        f"{folder}: {manifest.num_samples} samples, {manifest.dtype}, {_size(values['bytes'])}"
    ]
    for layer, counts in values["layers"].items():
        lines.append(
            f"  {layer:<12} {counts['samples']:>7} samples x {counts['features']} features"
        )
    for pattern in manifest.patterns:
        lines.append(
            f"  {pattern.samples:>7} samples with {' + '.join(pattern.layers) or 'no layer'}"
        )
    sides = ", ".join(f"{side} {count}" for side, count in manifest.splits.items())
    lines.append(f"  split: {sides or 'none'}")
    for entry in values["files"]:
        codecs = ", ".join(entry["compression"]).lower()
        lines.append(
            f"  {entry['name']}  {entry['rows']} rows, {_size(entry['bytes'])}, "
            f"{entry['row_groups']} row groups, {codecs}"
        )
    lines.append(f"  generation 1: {manifest.source or 'source not told'}")
    for entry in values["history"]:
        what = [f"{entry['samples']} samples"] if entry["samples"] else []
        what += [f"layers for {entry['completed']} samples"] if entry["completed"] else []
        what += [f"layer {layer}" for layer in entry["layers"]]
        what += [f"{count} features of {layer}" for layer, count in entry["features"].items()]
        lines.append(f"  generation {entry['generation']}: {entry['source']}: {', '.join(what)}")
    if kept := values["kept_generations"]:
        lines.append(f"  earlier generations kept: {', '.join(map(str, kept))}")
    return lines


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


def _size(num_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"
