"""Sets of one preparation as one set: the same shard files under one manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from immo_hpc import files
from immo_hpc._version import __version__
from immo_hpc.data.cohort import subjects_of
from immo_hpc.data.manifest import Manifest, ShardFile, read_manifest, write_manifest
from immo_hpc.data.shards import schema
from immo_hpc.data.shards.check import shard_size_problem
from immo_hpc.data.shards.index import SetIndex, read_index
from immo_hpc.data.shards.plan import merged_patterns
from immo_hpc.errors import ShardError

_MOST_NAMES = 10


def merge_shards(folders: Sequence[Path], out: Path) -> Manifest:
    """Put sets of shards together in a new folder.

    Shards are linked where the file system allows it, else copied; bytes and checksums stay.
    Samples keep their order, set after set, and their sides of the split.

    Args:
        folders: Two sets or more.
        out: Place of the new set: absent, or an empty folder.

    Raises:
        ShardError: If a set is damaged, the sets differ in anything but their samples, two
            have a sample in common, or a subject would stand on two sides of the split.
        OutputError: If ``out`` is not empty or cannot be written.
    """
    folders, out = [Path(folder) for folder in folders], Path(out)
    files.require_absent(out)
    manifests = [read_manifest(folder) for folder in folders]
    for folder, manifest in zip(folders[1:], manifests[1:], strict=True):
        _require_alike(folders[0], manifests[0], folder, manifest)
    pairs = list(zip(folders, manifests, strict=True))
    indices = [read_index(folder, manifest) for folder, manifest in pairs]
    _require_disjoint(folders, indices)
    _require_one_side(folders, manifests[0], indices)
    first = manifests[0]
    with files.new_folder(out) as temporary:
        shards: list[ShardFile] = []
        for folder, manifest in pairs:
            for entry in manifest.shards:
                shards.append(replace(entry, name=f"{len(shards):05d}.parquet"))
                _link(folder / entry.name, temporary / shards[-1].name, entry)
        sides = {side for manifest in manifests for side in manifest.splits}
        merged = replace(
            first,
            shards=tuple(shards),
            patterns=merged_patterns([manifest.patterns for manifest in manifests]),
            splits={
                side: sum(manifest.splits.get(side, 0) for manifest in manifests)
                for side in sorted(sides)
            },
            source=" + ".join(manifest.source or folder.name for folder, manifest in pairs),
            notices=tuple(dict.fromkeys(note for one in manifests for note in one.notices)),
            created_by={"immo-hpc": __version__, "pyarrow": pa.__version__},
            history=(),
        )
        write_manifest(merged, temporary)
    return merged


def _require_alike(one: Path, first: Manifest, other: Path, second: Manifest) -> None:
    differing = [
        told
        for told in (
            _features_differ(first, second),
            _value_differs("dtype", first.dtype, second.dtype),
            _value_differs("the columns of the sample table", first.columns, second.columns),
            _value_differs("the roles of these columns", first.roles, second.roles),
            _preparation_differs(first, second),
            "one was split, the other not" if bool(first.splits) != bool(second.splits) else None,
        )
        if told
    ]
    if not differing:
        return
    message = (
        f"{one} and {other}: expected sets that differ in nothing but their samples, found that "
        f"{'; '.join(differing)}. Sets fit together if they grew from one preparation: use 'immo "
        "shards append' on the cohort that the second was made of."
    )
    raise ShardError(message)


def _features_differ(first: Manifest, second: Manifest) -> str | None:
    if list(first.features) != list(second.features):
        return f"the layers are {list(first.features)} and {list(second.features)}"
    for layer, names in first.features.items():
        others = second.features[layer]
        if tuple(names) == tuple(others):
            continue
        only = [name for name in (*names, *others) if (name in names) != (name in others)]
        told = f"only one has {_listed(only)}" if only else "they stand in another order"
        return f"layer '{layer}' has {len(names)} and {len(others)} features ({told})"
    return None


def _value_differs(what: str, one: Any, other: Any) -> str | None:
    return None if one == other else f"{what} are {one} and {other}"


def _preparation_differs(first: Manifest, second: Manifest) -> str | None:
    if first.preparation == second.preparation:
        return None
    theirs = {entry["name"]: entry for entry in second.preparation.get("layers", [])}
    names = [
        entry["name"]
        for entry in first.preparation.get("layers", [])
        if theirs.get(entry["name"]) != entry
    ]
    return f"the preparation was fitted on other samples (layers {_listed(names)})"


def _require_disjoint(folders: Sequence[Path], indices: Sequence[SetIndex]) -> None:
    uids = np.concatenate([index.uid for index in indices])
    if schema.repeated_identity(uids) is None:
        return
    home = np.repeat(np.arange(len(folders)), [len(index.uid) for index in indices])
    names = np.concatenate([index.samples.index.astype(str) for index in indices])
    _, group, counts = np.unique(uids, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[group] > 1)
    mates = np.flatnonzero(uids == uids[repeated[0]])[:2]
    shared = int((counts > 1).sum())
    message = (
        f"{folders[home[mates[0]]]} and {folders[home[mates[1]]]}: expected sets without a common "
        f"sample, found {shared}: {_listed(list(dict.fromkeys(names[repeated])))}. A sample "
        "stands in one set only."
    )
    raise ShardError(message)


def _require_one_side(
    folders: Sequence[Path], manifest: Manifest, indices: Sequence[SetIndex]
) -> None:
    """Refuse a subject that is learnt from in one set and tested on in another."""
    by_sample = manifest.config.get("split", {}).get("by") == "sample"
    if not manifest.splits or manifest.roles.subject is None or by_sample:
        return
    frames = [
        pd.DataFrame(
            {
                "subject": subjects_of(index.samples, manifest.roles).to_numpy(),
                "side": index.split,
                "home": number,
            }
        )
        for number, index in enumerate(indices)
    ]
    found = pd.concat(frames, ignore_index=True).dropna(subset=["subject"]).drop_duplicates()
    torn = found.groupby("subject")["side"].transform("nunique") > 1
    if not torn.any():
        return
    subject = found.loc[torn.to_numpy(), "subject"].iloc[0]
    places = [
        f"'{row.side}' in {folders[row.home]}"
        for row in found[found["subject"] == subject].itertuples()
    ]
    message = (
        f"subject '{subject}': expected one side of the split in all sets, found "
        f"{', '.join(places)} ({found.loc[torn.to_numpy(), 'subject'].nunique()} such subjects). "
        "What is tested on must not be learnt from: use 'immo shards append', which keeps a "
        "known subject on its side."
    )
    raise ShardError(message)


def _link(source: Path, target: Path, entry: ShardFile) -> None:
    if problem := shard_size_problem(source, entry):
        raise ShardError(problem)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_MOST_NAMES])
    return shown + (", ..." if len(names) > _MOST_NAMES else "")
