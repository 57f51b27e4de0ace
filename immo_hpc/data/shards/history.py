"""Earlier generations of a set that grew, and what a stopped growth left behind.

A set grows by new shard files and one rename of the manifest. The names of the files of
generation ``n`` begin with ``n-`` and a digest of what was added, so no manifest before it lists
them, two growths never write the same file, and a repeated one writes the same files again. The
manifest that is replaced stays as ``manifest-<n - 1>.json``. Whatever has a name of the next
generation was left by a growth that was stopped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from immo_hpc import files
from immo_hpc.data.manifest import MANIFEST_NAME, Manifest, kept_name, read_manifest
from immo_hpc.lease import hold

LEASE_NAME = "growing.lease"
# Folder inside the set for what is made on the way.
SCRATCH_NAME = ".append"
_SHARD = re.compile(r"(\d+-[0-9a-f]{8}-)?\d{5,}\.parquet")
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


def grown_prefix(generation: int, content: str) -> str:
    """What the names of the shards of a generation begin with.

    Args:
        generation: The generation they come with.
        content: SHA-256 over what is added, hexadecimal.

    Example:
        >>> grown_prefix(2, "9f86d081884c7d65")
        '2-9f86d081-'
    """
    return f"{generation}-{content[:8]}-"


def kept_generations(folder: Path, manifest: Manifest) -> tuple[int, ...]:
    """Earlier generations that can still be read, first to last."""
    numbers = range(1, manifest.generation)
    return tuple(number for number in numbers if (folder / kept_name(number)).exists())


def leftovers(folder: Path, manifest: Manifest) -> tuple[Path, ...]:
    """Files of a growth that was stopped, or is going on; nothing reads them."""
    coming = re.compile(rf"{manifest.generation + 1}-[0-9a-f]{{8}}-\d{{5,}}\.parquet")
    unfinished = {kept_name(manifest.generation), SCRATCH_NAME}
    return tuple(
        path
        for path in sorted(folder.iterdir())
        if coming.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name) or path.name in unfinished
    )


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders, of which some may be gone already.

    Raises:
        OutputError: If one cannot be removed.
    """
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
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
        size = sum(path.stat().st_size for path in gone if path.is_file())
        remove(gone)
    return Pruned(generations, tuple(path.name for path in gone), size)
