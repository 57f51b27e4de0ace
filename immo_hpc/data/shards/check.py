"""Is a shard what the manifest says? Each problem names shard, row group and column."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.cohort import sample_uid
from immo_hpc.data.manifest import Manifest, ShardFile, read_manifest
from immo_hpc.data.shards import schema
from immo_hpc.errors import ShardError

_REMEDY = "Restore the file from a copy, or prepare the cohort again."
# What Arrow raises for bytes that are not what their headers promise; ValueError: for names
# that are not UTF-8.
UNREADABLE = (pa.ArrowException, OSError, ValueError)


def verify_shards(folder: Path) -> tuple[str, ...]:
    """Every problem of a folder of shards, one sentence each; empty if it is sound."""
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except ShardError as error:
        return (str(error),)
    problems: list[str] = []
    uids: list[NDArray[np.int64]] = []
    for entry in manifest.shards:
        found = list(shard_problems(folder, manifest, entry)) or _decoded_problems(
            folder / entry.name, manifest
        )
        problems += found
        uids.append(np.empty(0, np.int64) if found else _uids(folder / entry.name))
    if repeated := repeated_samples(folder, manifest, uids):
        problems.append(repeated)
    listed = {entry.name for entry in manifest.shards}
    problems += [
        f"{path}: a shard that the manifest does not list, so it is not read. Remove it."
        for path in sorted(folder.glob("*.parquet"))
        if path.name not in listed
    ]
    return tuple(problems)


def shard_problems(folder: Path, manifest: Manifest, entry: ShardFile) -> Iterator[str]:
    """What is wrong with one shard; what depends on a failed check is left out."""
    path = folder / entry.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield f"{path}: a shard of the manifest that cannot be read ({error.strerror}). {_REMEDY}"
        return
    if size < entry.bytes:
        yield f"{path}: truncated: expected {entry.bytes} bytes, found {size}. {_REMEDY}"
        return
    if digest != entry.sha256:
        yield (
            f"{path}{_damaged_place(path, manifest)}: the checksum does not match: expected "
            f"SHA-256 {entry.sha256}, found {digest}. {_REMEDY}"
        )
        return
    try:
        with pq.ParquetFile(path) as shard:
            yield from _content_problems(path, manifest, entry, shard)
    except UNREADABLE as error:
        yield f"{path}: not a readable Parquet file ({error}). {_REMEDY}"


def row_groups(path: Path) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a shard, decoded one after the other.

    Raises:
        ShardError: If one cannot be decoded.
    """
    group = 0
    try:
        with pq.ParquetFile(path) as shard:
            for group in range(shard.num_row_groups):
                yield group, shard.read_row_group(group)
    except UNREADABLE as error:
        message = f"{path}, row group {group}: cannot be decoded ({error}). {_REMEDY}"
        raise ShardError(message) from error


def length_problems(path: Path, manifest: Manifest, group: int, table: pa.Table) -> Iterator[str]:
    """Layers of a decoded row group whose lists are not of one value a feature."""
    for layer, features in manifest.features.items():
        name = schema.values_column(layer)
        row = schema.ragged_row(table.column(name), len(features))
        if row is not None:
            found = len(table.column(name)[row].values)
            yield (
                f"{path}, row group {group}, row {row}: column '{name}' has {found} values, "
                f"expected {len(features)}, the features of layer '{layer}'. {_REMEDY}"
            )


def repeated_samples(
    folder: Path, manifest: Manifest, uids: Sequence[NDArray[np.int64]]
) -> str | None:
    """The problem of a sample that stands in two places; ``uids`` are those of each shard."""
    pair = schema.repeated_identity(np.concatenate(uids))
    if pair is None:
        return None
    ends = np.cumsum([len(part) for part in uids])
    places = []
    for place in pair:
        shard = int(np.searchsorted(ends, place, side="right"))
        row = place - (ends[shard] - len(uids[shard]))
        places.append(f"{folder / manifest.shards[shard].name}, row {row}")
    return (
        f"{places[0]} and {places[1]}: column 'sample_uid' is the same, expected every sample "
        "once; one of the shards belongs to another set. Prepare the cohort again."
    )


def _content_problems(
    path: Path, manifest: Manifest, entry: ShardFile, shard: pq.ParquetFile
) -> Iterator[str]:
    if shard.metadata.num_rows != entry.rows:
        yield f"{path}: expected {entry.rows} rows, found {shard.metadata.num_rows}. {_REMEDY}"
    if _tag(shard) != schema.shard_tag(manifest.features):
        yield (
            f"{path}: a shard of another cohort or preparation: its feature names are not "
            f"those of the manifest. {_REMEDY}"
        )
    expected = schema.expected_types(manifest)
    found = {field.name: str(field.type) for field in shard.schema_arrow}
    for name in expected | found:
        if found.get(name) != expected.get(name):
            yield (
                f"{path}: column '{name}' is {found.get(name, 'absent')}, the manifest says "
                f"{expected.get(name, 'absent')}. {_REMEDY}"
            )
    if {"sample_id": "string", "sample_uid": "int64"}.items() <= found.items():
        yield from _identity_problems(path, shard)


def _identity_problems(path: Path, shard: pq.ParquetFile) -> Iterator[str]:
    for group in range(shard.num_row_groups):
        table = shard.read_row_group(group, columns=["sample_id", "sample_uid"])
        ids = table.column("sample_id").to_pylist()
        wrong = np.flatnonzero(sample_uid(ids) != table.column("sample_uid").to_numpy())
        if len(wrong):
            yield (
                f"{path}, row group {group}: column 'sample_uid' of sample '{ids[wrong[0]]}' "
                f"is not the identity of that id ({len(wrong)} such rows). {_REMEDY}"
            )


def _decoded_problems(path: Path, manifest: Manifest) -> list[str]:
    problems: list[str] = []
    try:
        for group, table in row_groups(path):
            problems += length_problems(path, manifest, group, table)
    except ShardError as error:
        problems.append(str(error))
    return problems


def _uids(path: Path) -> NDArray[np.int64]:
    with pq.ParquetFile(path) as shard:
        uids: NDArray[np.int64] = shard.read(columns=["sample_uid"]).column(0).to_numpy()
    return uids


def _tag(shard: pq.ParquetFile) -> bytes | None:
    return (shard.schema_arrow.metadata or {}).get(schema.TAG)


def _damaged_place(path: Path, manifest: Manifest) -> str:
    """Where in a file with a wrong checksum the damage sits, as far as it can be told."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as shard:
            if _tag(shard) != schema.shard_tag(manifest.features):
                return " is a shard of another cohort or preparation"
            for group in range(shard.num_row_groups):
                for column in shard.schema_arrow.names:
                    try:
                        shard.read_row_group(group, columns=[column])
                    except UNREADABLE:
                        return f", row group {group}, column '{column}'"
    except UNREADABLE:
        return ", Parquet footer"
    return ", outside the values"
