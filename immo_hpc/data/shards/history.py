"""Earlier generations of a set that grew, and what a stopped growth left behind.

A set grows by new shard files and one rename of the manifest. The files of generation ``n`` are
called ``n-00000.parquet`` and so on, which no manifest before it lists; the manifest it
replaces stays as ``manifest-<n - 1>.json``. So whatever has such a name and is listed nowhere
was left by a growth that was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from immo_hpc import files
from immo_hpc.data.manifest import MANIFEST_NAME, Manifest, kept_name, read_manifest
from immo_hpc.lease import hold

LEASE_NAME = "growing.lease"
_SHARD = re.compile(r"(\d+-)?\d{5,}\.parquet")
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.(manifest(-\d+)?\.json|[\w-]+\.parquet)")


@dataclass(frozen=True)
class Pruned:
    """What was dropped.

    Attributes:
        generations: Earlier generations that can no longer be read.
        files: Names of the files removed.
        bytes: Their size.
    """

    generations: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int


def grown_name(generation: int, number: int) -> str:
    """File of the ``number``-th shard that came with a generation.

    Example:
        >>> grown_name(2, 0)
        '2-00000.parquet'
    """
    return f"{generation}-{number:05d}.parquet"


def kept_generations(folder: Path, manifest: Manifest) -> tuple[int, ...]:
    """Earlier generations that can still be read, first to last."""
    numbers = range(1, manifest.generation)
    return tuple(number for number in numbers if (folder / kept_name(number)).exists())


def listed_names(folder: Path, manifest: Manifest) -> set[str]:
    """Shards of this and of all earlier generations that are kept.

    Raises:
        ShardError: If a kept manifest is damaged.
    """
    names = {entry.name for entry in manifest.shards}
    for generation in kept_generations(folder, manifest):
        names |= {entry.name for entry in read_manifest(folder, generation).shards}
    return names


def leftovers(folder: Path, manifest: Manifest) -> tuple[Path, ...]:
    """Files of a growth that was stopped, or is going on; nothing reads them."""
    coming = re.compile(rf"{manifest.generation + 1}-\d{{5,}}\.parquet")
    unfinished = {kept_name(manifest.generation)}
    return tuple(
        path
        for path in sorted(folder.iterdir())
        if coming.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name) or path.name in unfinished
    )


def remove(paths: Iterable[Path]) -> None:
    """Remove files, of which some may be gone already.

    Raises:
        OutputError: If one cannot be removed.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            files.refuse_output(path, error)


def keep_manifest(folder: Path, manifest: Manifest) -> None:
    """Keep the manifest that stands, byte by byte, under the name of its generation."""
    with files.atomic_path(folder / kept_name(manifest.generation)) as temporary:
        temporary.write_bytes((folder / MANIFEST_NAME).read_bytes())


def prune_shards(folder: Path) -> Pruned:
    """Drop all earlier generations, and the files that only they need.

    What a stopped growth left goes too. The set itself is not touched; a program that is
    reading an earlier generation meets missing files.

    Raises:
        ShardError: If there is no sound manifest.
        BusyError: If the set is growing just now.
        OutputError: If a file cannot be removed.
    """
    read_manifest(folder)
    with hold(folder / LEASE_NAME):
        manifest = read_manifest(folder)
        generations = kept_generations(folder, manifest)
        # Manifests first: one that is there never names a file that is gone.
        remove(folder / kept_name(generation) for generation in generations)
        listed = {entry.name for entry in manifest.shards}
        unlisted = [
            path
            for path in sorted(folder.iterdir())
            if _SHARD.fullmatch(path.name) and path.name not in listed
        ]
        gone = list(dict.fromkeys([*unlisted, *leftovers(folder, manifest)]))
        size = sum(path.stat().st_size for path in gone)
        remove(gone)
    return Pruned(generations, tuple(path.name for path in gone), size)
