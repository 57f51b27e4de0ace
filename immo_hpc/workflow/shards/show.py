"""What is in a set of shards, and whether it is sound."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from immo_hpc.data.manifest import Manifest, ShardFile, read_manifest
from immo_hpc.data.shards import verify_shards
from immo_hpc.data.shards.check import REMEDY, UNREADABLE, verify_notes
from immo_hpc.data.shards.history import kept_generations
from immo_hpc.data.shards.stats import ALL_SIDES, set_statistics
from immo_hpc.errors import ShardError
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.shards.text import counted, size_text


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
        text = "\n".join(
            [f"{folder}: {counted(len(problems), 'problem')}", *map("  {}".format, problems)]
        )
        return Outcome({"shards": str(folder), "problems": list(problems)}, text), False
    manifest = read_manifest(folder)
    text = (
        f"{folder}: sound; {manifest.num_samples} samples in "
        f"{counted(len(manifest.shards), 'shard')}, "
        f"{size_text(sum(entry.bytes for entry in manifest.shards))}"
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
        f"{folder}: {manifest.num_samples} samples, {manifest.dtype}, {size_text(values['bytes'])}"
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
            f"  {entry['name']}  {entry['rows']} rows, {size_text(entry['bytes'])}, "
            f"{counted(entry['row_groups'], 'row group')}, {codecs}"
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
