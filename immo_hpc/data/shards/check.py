"""Is a shard what the manifest says? Each problem names shard, row group and column."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.cohort import sample_uid
from immo_hpc.data.manifest import Manifest, ShardFile, read_manifest
from immo_hpc.data.shards import schema
from immo_hpc.data.shards.history import kept_generations, leftovers
from immo_hpc.errors import ShardError

REMEDY = "Restore the file from a copy, or prepare the cohort again."
# What Arrow raises for bytes that are not what their headers promise; ValueError: for names
# that are not UTF-8.
UNREADABLE = (pa.ArrowException, OSError, ValueError)


def verify_shards(folder: Path) -> tuple[str, ...]:
    """Every problem of a folder of shards, one sentence each; empty if it is sound.

    Shards are looked at side by side, one row group of each in memory at a time.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder)
    except ShardError as error:
        return (str(error),)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        looked = list(pool.map(lambda entry: _look(folder, manifest, entry), manifest.shards))
    problems = [problem for found, _ in looked for problem in found]
    if repeated := repeated_samples(folder, manifest, [uids for _, uids in looked]):
        problems.append(repeated)
    return (*problems, *_other_files(folder, manifest))


def verify_notes(folder: Path) -> tuple[str, ...]:
    """What lies in a folder of shards and does no harm, one sentence each."""
    manifest = read_manifest(folder)
    return tuple(
        f"{path}: left by an append that was stopped, or written by one that is at work; nothing "
        "reads it, and the next append removes it."
        for path in leftovers(folder, manifest)
    )


def shard_problems(folder: Path, manifest: Manifest, entry: ShardFile) -> Iterator[str]:
    """What is wrong with one shard; what depends on a failed check is left out."""
    path = folder / entry.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield f"{path}: a shard of the manifest that cannot be read ({error.strerror}). {REMEDY}"
        return
    if size < entry.bytes:
        yield f"{path}: truncated: expected {entry.bytes} bytes, found {size}. {REMEDY}"
        return
    if digest != entry.sha256:
        yield (
            f"{path}{damaged_place(path, manifest)}: the checksum does not match: expected "
            f"SHA-256 {entry.sha256}, found {digest}. {REMEDY}"
        )
        return
    try:
        with pq.ParquetFile(path) as shard:
            yield from content_problems(path, manifest, entry, shard)
    except UNREADABLE as error:
        yield f"{path}: not a readable Parquet file ({error}). {REMEDY}"


def shard_size_problem(path: Path, entry: ShardFile) -> str | None:
    """What is wrong with a shard's file at first sight: it is absent, or of another size."""
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"{path}: a shard of the manifest that cannot be read ({error.strerror}). {REMEDY}"
    if size < entry.bytes:
        return f"{path}: truncated: expected {entry.bytes} bytes, found {size}. {REMEDY}"
    if size > entry.bytes:
        return f"{path}: expected {entry.bytes} bytes, found {size}. {REMEDY}"
    return None


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
        message = f"{path}, row group {group}: cannot be decoded ({error}). {REMEDY}"
        raise ShardError(message) from error


def length_problems(
    path: Path, features_of: Mapping[str, Sequence[str]], group: int, table: pa.Table
) -> Iterator[str]:
    """Layers of a decoded row group whose lists are not of one value a feature."""
    for layer, features in features_of.items():
        name = schema.values_column(layer)
        row = schema.ragged_row(table.column(name), len(features))
        if row is not None:
            found = len(table.column(name)[row].values)
            yield (
                f"{path}, row group {group}, row {row}: column '{name}' has {found} values, "
                f"expected {len(features)}, the features of layer '{layer}'. {REMEDY}"
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


def content_problems(
    path: Path, manifest: Manifest, entry: ShardFile, shard: pq.ParquetFile
) -> Iterator[str]:
    """What an open shard holds that the manifest does not say: rows, features, columns, ids."""
    if shard.metadata.num_rows != entry.rows:
        yield f"{path}: expected {entry.rows} rows, found {shard.metadata.num_rows}. {REMEDY}"
    if _tag(shard) != schema.shard_tag(manifest.features):
        yield (
            f"{path}: a shard of another cohort or preparation: its feature names are not "
            f"those of the manifest. {REMEDY}"
        )
    expected = schema.expected_types(manifest)
    found = {field.name: str(field.type) for field in shard.schema_arrow}
    for name in expected | found:
        if found.get(name) != expected.get(name):
            yield (
                f"{path}: column '{name}' is {found.get(name, 'absent')}, the manifest says "
                f"{expected.get(name, 'absent')}. {REMEDY}"
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
                f"is not the identity of that id ({len(wrong)} such rows). {REMEDY}"
            )


def _look(
    folder: Path, manifest: Manifest, entry: ShardFile
) -> tuple[list[str], NDArray[np.int64]]:
    """Problems of one shard, and the identities in it if there are none."""
    path = folder / entry.name
    found = list(shard_problems(folder, manifest, entry)) or _decoded_problems(path, manifest)
    return found, np.empty(0, np.int64) if found else _uids(path)


def _other_files(folder: Path, manifest: Manifest) -> list[str]:
    """Problems of earlier generations, and files that no manifest lists."""
    problems = []
    listed = {entry.name for entry in manifest.shards}
    for generation in kept_generations(folder, manifest):
        try:
            earlier = read_manifest(folder, generation)
        except ShardError as error:
            problems.append(str(error))
            continue
        only_there = [entry for entry in earlier.shards if entry.name not in listed]
        sizes = (shard_size_problem(folder / entry.name, entry) for entry in only_there)
        problems += [problem for problem in sizes if problem]
        listed |= {entry.name for entry in only_there}
    known = {path.name for path in leftovers(folder, manifest)} | listed
    return problems + [
        f"{path}: a shard that the manifest does not list, so it is not read. Remove it."
        for path in sorted(folder.glob("*.parquet"))
        if path.name not in known
    ]


def _decoded_problems(path: Path, manifest: Manifest) -> list[str]:
    problems: list[str] = []
    try:
        for group, table in row_groups(path):
            problems += length_problems(path, manifest.features, group, table)
    except ShardError as error:
        problems.append(str(error))
    return problems


def _uids(path: Path) -> NDArray[np.int64]:
    with pq.ParquetFile(path) as shard:
        uids: NDArray[np.int64] = shard.read(columns=["sample_uid"]).column(0).to_numpy()
    return uids


def _tag(shard: pq.ParquetFile) -> bytes | None:
    return (shard.schema_arrow.metadata or {}).get(schema.TAG)


def damaged_place(path: Path, manifest: Manifest) -> str:
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
