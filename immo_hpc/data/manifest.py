"""The manifest of a folder of shards: what the Parquet files hold, and how to trust them.

One JSON file, ``manifest.json``, written after all shards. `docs/shards.md` is its
specification; this file is the only place that knows its keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from immo_hpc import files
from immo_hpc.data.cohort import Roles
from immo_hpc.errors import ShardError

FORMAT = "immo-shards"
VERSION = 1
MANIFEST_NAME = "manifest.json"
_CHECKSUM = "manifest_sha256"

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# A plain file name: a manifest must not be able to point outside its folder.
ShardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.parquet$")]


@dataclass(frozen=True)
class ShardFile:
    """One Parquet file of a shard set.

    Attributes:
        name: File name inside the folder.
        rows: Samples in it.
        bytes: Size of the file.
        sha256: SHA-256 of the whole file, hexadecimal (as ``sha256sum`` prints it).
    """

    name: ShardName
    rows: Count
    bytes: Count
    sha256: Sha256


@dataclass(frozen=True)
class Pattern:
    """How many samples have exactly these layers."""

    layers: tuple[str, ...]
    samples: Count


@dataclass(frozen=True)
class Growth:
    """One step by which a set grew.

    Attributes:
        source: Where what was added came from, in words.
        samples: Samples that were added.
        completed: Samples that were there and got layers they did not have.
        layers: Layers that the set did not have.
        features: Number of features that joined each layer, by layer.
        content: SHA-256 over what was asked to be added, by which a repeated request is known.
        created_by: Versions of the programs that added it.
    """

    source: str
    samples: Count
    completed: Count
    layers: tuple[str, ...]
    features: Mapping[str, Count]
    content: Sha256
    created_by: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """Everything about a shard set that is not in its rows.

    Attributes:
        features: Feature names of each layer, in the order of the values.
        dtype: Type of the stored values.
        columns: Arrow type, as text, of each column of the sample table.
        roles: Which of those columns is label, subject, batch, covariate or time.
        shards: The files, in the order of their samples.
        patterns: Histogram of the sets of measured layers, largest first.
        splits: Samples on each side of the split; empty if the cohort was not split.
        preparation: The fitted preparation as JSON values; opaque here.
        config: The part of the configuration that made the set: seed, split and preparation.
        source: Where the cohort came from, in words; None if not told.
        notices: What was guessed or put right in the cohort, as sentences.
        created_by: Versions of the programs that wrote the set.
        history: Steps by which the set grew since it was prepared, first to last.
    """

    features: Mapping[str, tuple[str, ...]]
    dtype: Literal["float32", "float16"]
    columns: Mapping[str, str]
    roles: Roles
    shards: Annotated[tuple[ShardFile, ...], Field(min_length=1)]
    patterns: tuple[Pattern, ...]
    splits: Mapping[str, Count]
    preparation: Mapping[str, Any]
    config: Mapping[str, Any]
    source: str | None
    notices: tuple[str, ...]
    created_by: Mapping[str, str]
    history: tuple[Growth, ...] = field(default=())

    @property
    def generation(self) -> int:
        """1 as prepared, one more with each growth."""
        return len(self.history) + 1

    @property
    def num_samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.rows for shard in self.shards)

    def num_measured(self, layer: str) -> int:
        """Samples in which ``layer`` was measured."""
        return sum(entry.samples for entry in self.patterns if layer in entry.layers)


def features_digest(features: Mapping[str, Sequence[str]]) -> str:
    """SHA-256 over the names of all layers and features; every shard carries it."""
    names = [[layer, list(columns)] for layer, columns in features.items()]
    return hashlib.sha256(_canonical(names)).hexdigest()


def kept_name(generation: int) -> str:
    """File that keeps the manifest of an earlier generation."""
    return f"manifest-{generation}.json"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` in one step, with a checksum over its own content.

    Raises:
        ShardError: If the preparation holds something that JSON cannot.
    """
    content = {"format": FORMAT, "version": VERSION} | _adapter().dump_python(manifest)
    if not manifest.history:
        del content["history"]
    content["roles"] = manifest.roles.to_dict()
    try:
        content[_CHECKSUM] = hashlib.sha256(_canonical(content)).hexdigest()
    except (TypeError, ValueError) as error:
        message = f"the preparation or configuration cannot be written as JSON ({error})."
        raise ShardError(message) from error
    # One line a key: short enough to diff, and twenty thousand names are not a line each.
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
    files.write_text(folder / MANIFEST_NAME, "{\n" + ",\n".join(lines) + "\n}\n")


def holds_shards(folder: Path) -> bool:
    """Whether a folder has a manifest of shards, readable or not."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return FORMAT.encode() in file.read(100)


def read_manifest(folder: Path, generation: int | None = None) -> Manifest:
    """Read and check ``folder/manifest.json``; the shards themselves are not opened.

    Args:
        folder: Folder of shards.
        generation: The set as it was then (`Manifest.generation`); as it is now if None.

    Raises:
        ShardError: If there is no manifest, it is truncated, changed, of another format or
            version, or contradicts itself; or if that generation is not kept.
    """
    if generation is None:
        return _read_manifest(folder / MANIFEST_NAME)
    path = folder / kept_name(generation)
    if path.exists():
        return _read_manifest(path)
    manifest = _read_manifest(folder / MANIFEST_NAME)
    if manifest.generation == generation:
        return manifest
    message = (
        f"{folder}: expected to find generation {generation} of this set, found no {path.name}; "
        f"the set is at generation {manifest.generation} ('immo shards ls' tells which are kept)."
    )
    raise ShardError(message)


def _read_manifest(path: Path) -> Manifest:
    content = _read_json(path)
    _require_version(path, content)
    stored = content.pop(_CHECKSUM, None)
    if stored != hashlib.sha256(_canonical(content)).hexdigest():
        message = (
            f"{path}: the content does not match its own checksum ({_CHECKSUM}): it was changed "
            "or damaged after it was written. Restore it from a copy, or prepare again."
        )
        raise ShardError(message)
    try:
        manifest: Manifest = _adapter().validate_python(content)
    except ValidationError as error:
        places = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        )
        message = f"{path}: not a manifest of version {VERSION}: {places}. Prepare again."
        raise ShardError(message) from None
    _require_consistent(path, manifest)
    return manifest


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _canonical(content: Any) -> bytes:
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        message = (
            f"{path.parent}: expected a folder of shards, found no {MANIFEST_NAME} in it. "
            "Name the output folder of 'immo prepare'."
        )
        raise ShardError(message) from error
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}). Check the permissions."
        raise ShardError(message) from error
    except ValueError as error:
        message = (
            f"{path}: not valid JSON ({error}); the file is truncated or damaged. "
            "Restore it from a copy, or prepare again."
        )
        raise ShardError(message) from error
    if not isinstance(content, dict):
        message = f"{path}: expected a JSON object, found {type(content).__name__}. Prepare again."
        raise ShardError(message)
    return content


def _require_version(path: Path, content: dict[str, Any]) -> None:
    found_format, found_version = content.pop("format", None), content.pop("version", None)
    if found_format != FORMAT:
        message = (
            f"{path}: expected format '{FORMAT}', found {found_format!r}. "
            "Name the output folder of 'immo prepare'."
        )
        raise ShardError(message)
    if found_version != VERSION:
        message = (
            f"{path}: format version {found_version!r}; this program reads version {VERSION}. "
            "Use the version of immo-hpc that wrote it, or prepare again with this one."
        )
        raise ShardError(message)
    content |= {"format": found_format, "version": found_version}


def _require_consistent(path: Path, manifest: Manifest) -> None:
    problems = []
    known = set(manifest.features)
    if unknown := {name for entry in manifest.patterns for name in entry.layers} - known:
        problems.append(f"patterns name the unknown layers {sorted(unknown)}")
    counts = {"patterns": sum(entry.samples for entry in manifest.patterns)}
    if manifest.splits:
        counts["splits"] = sum(manifest.splits.values())
    problems += [
        f"{name} count {found} samples, the shards {manifest.num_samples}"
        for name, found in counts.items()
        if found != manifest.num_samples
    ]
    if len({shard.name for shard in manifest.shards}) < len(manifest.shards):
        problems.append("a shard is listed twice")
    if problems:
        message = f"{path}: contradicts itself: {'; '.join(problems)}. Prepare again."
        raise ShardError(message)
