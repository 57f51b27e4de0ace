"""What a preparation came to, told from the folder of shards, whichever process made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from immo_hpc.data.manifest import Manifest, read_manifest
from immo_hpc.data.shards.schema import sample_column
from immo_hpc.workflow.outcome import Outcome


def describe_shards(shards: Path) -> Outcome:
    """Samples, layers and sides of a folder of shards that was just prepared.

    Raises:
        ShardError: If there is no sound manifest.
    """
    manifest = read_manifest(shards)
    layers = {entry["name"]: _layer(manifest, entry) for entry in manifest.preparation["layers"]}
    sides = _sides(shards, manifest)

    def people(num_subjects: int) -> str:
        return "" if manifest.roles.subject is None else f"{num_subjects} people, "

    lines = [
        f"{shards}: {manifest.num_samples} samples",
        *(_line(entry, layers[entry["name"]]) for entry in manifest.preparation["layers"]),
        "  split: "
        + "; ".join(
            f"{side} {people(counts['subjects'])}{counts['samples']} samples"
            for side, counts in sides.items()
        ),
    ]
    values = {"shards": str(shards), "layers": layers, "split": sides}
    return Outcome(values, "\n".join(lines), manifest.notices)


def _layer(manifest: Manifest, preparation: Mapping[str, Any]) -> dict[str, int]:
    kept = len(manifest.features[preparation["name"]])
    return {
        "samples": manifest.num_measured(preparation["name"]),
        "features": kept + sum(map(len, preparation["dropped"].values())),
        "kept": kept,
    }


def _line(preparation: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    return (
        f"  {preparation['name']:<12} {preparation['kind']:<12} {counts['samples']:>6} samples  "
        f"{counts['kept']} of {counts['features']} features kept"
    )


def _sides(shards: Path, manifest: Manifest) -> dict[str, dict[str, int]]:
    subject = manifest.roles.subject
    column = "sample_id" if subject is None else sample_column(subject)
    table = pa.concat_tables(
        pq.read_table(shards / shard.name, columns=["split", column]) for shard in manifest.shards
    )
    people: dict[str, set[Any]] = {"train": set(), "validation": set(), "test": set()}
    sides, subjects = table.column("split").to_pylist(), table.column(column).to_pylist()
    for side, person in zip(sides, subjects, strict=True):
        people[side].add(person)
    return {
        side: {"samples": manifest.splits.get(side, 0), "subjects": len(found)}
        for side, found in people.items()
    }
