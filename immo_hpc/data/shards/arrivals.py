"""What a cohort brings to a set: new samples, and layers for samples that are there already.

What counts is the pair of sample and layer. A pair that the set has is never replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.cohort import Cohort, sample_uid
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.sample_table import as_text
from immo_hpc.data.shards import schema
from immo_hpc.data.shards.index import SetIndex
from immo_hpc.errors import CohortError, ShardError

_MOST_NAMES = 10


@dataclass(frozen=True)
class Arrivals:
    """What is added, by places in the cohort it comes with.

    Attributes:
        cohort: The cohort, with the columns and roles of the set's sample table.
        table: Those columns as they will be stored, of all samples of the cohort.
        new: Samples that the set does not have, ``(new,)``, int64, increasing.
        known: Samples that it has and that get a layer, ``(known,)``, int64, in the order of
            the set.
        place: Their places in the set, ``(known,)``, int64, increasing.
        gets: True where they get a layer, ``(known,)``, by layer of the cohort.
        notices: What was left out or assumed, as sentences.
    """

    cohort: Cohort
    table: pa.Table
    new: NDArray[np.int64]
    known: NDArray[np.int64]
    place: NDArray[np.int64]
    gets: Mapping[str, NDArray[np.bool_]]
    notices: tuple[str, ...]


def content_digest(cohort: Cohort, options: Sequence[Any]) -> str:
    """SHA-256 over all that is asked to be added, hexadecimal."""
    digest = hashlib.sha256(repr([*options, cohort.roles, cohort.sample_ids]).encode())
    digest.update(cohort.samples.to_csv().encode())
    for layer in cohort.layers.values():
        digest.update(repr([layer.name, layer.kind, layer.features, layer.rows.shape]).encode())
        digest.update(np.ascontiguousarray(layer.rows).tobytes())
        for _, block in row_blocks(layer.values):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def arrive(
    folder: Path, manifest: Manifest, index: SetIndex, cohort: Cohort, *, skip_known: bool
) -> Arrivals:
    """Tell what is new in a cohort from what the set has.

    Args:
        folder: Folder of the set.
        manifest: Its manifest.
        index: Its samples.
        cohort: What comes.
        skip_known: Leave out what the set has, instead of refusing the cohort.

    Raises:
        CohortError: If the set has a layer of a sample already, a known sample is of another
            subject, or the sample table does not fit the set's.
        ShardError: If two samples have one identity.
    """
    table, notices = _table(folder, manifest, cohort)
    samples = schema.samples_from_arrow(table, manifest.columns)
    cohort_as_given, cohort = cohort, replace(cohort, samples=samples, roles=manifest.roles)
    ids = cohort.sample_ids
    place = np.array([index.place.get(name, -1) for name in ids], dtype=np.int64)
    new = np.flatnonzero(place < 0)
    if len(new):
        _require_subject_column(manifest, cohort_as_given)
        _require_unit(manifest, cohort_as_given)
    _require_identities(index, [ids[number] for number in new])
    known = np.flatnonzero(place >= 0)
    known = known[np.argsort(place[known], kind="stable")]
    given = cohort.measured()[known]
    column = {layer: number for number, layer in enumerate(manifest.features)}
    there = np.stack(
        [
            index.measured[place[known], column[layer]]
            if layer in column
            else np.zeros(len(known), np.bool_)
            for layer in cohort.layers
        ],
        axis=1,
    )
    clash = (given & there).any(axis=1)
    if clash.any():
        names = _listed([ids[number] for number in known[clash]])
        if not skip_known:
            message = (
                f"{int(clash.sum())} samples are in the set already, with the same layers: "
                f"{names}. What is stored is never replaced. Leave them out with --skip-known, or "
                "give other samples their own names."
            )
            raise CohortError(message)
        notices.append(f"{int(clash.sum())} samples are there already and left out: {names}.")
    gets = given & ~there
    some = gets.any(axis=1)
    _require_subjects(manifest, index, cohort, known[some], place[known[some]])
    if some.any():
        notices.append(
            f"{int(some.sum())} samples are there already and get layers they did not have: "
            f"{_listed([ids[number] for number in known[some]])}."
        )
    return Arrivals(
        cohort,
        table,
        new,
        known[some],
        place[known[some]],
        {layer: gets[some, number] for number, layer in enumerate(cohort.layers)},
        tuple(notices),
    )


def _table(folder: Path, manifest: Manifest, cohort: Cohort) -> tuple[pa.Table, list[str]]:
    """The sample table in the columns and types of the set's, and what that left open."""
    types = pq.read_schema(folder / manifest.shards[0].name)
    ids = pa.array(cohort.sample_ids, pa.string())
    columns = {"sample_id": ids, "sample_uid": pa.array(sample_uid(cohort.sample_ids))}
    notices, taken = [], set()
    for column in manifest.columns:
        kind = types.field(schema.sample_column(column)).type
        source = _source(manifest, cohort, column)
        if source is None:
            array = pa.nulls(len(ids), kind)
            notices.append(f"sample table: column '{column}' is absent: unknown here.")
        else:
            taken.add(source)
            array = _converted(cohort.samples[source], source, kind)
        columns[schema.sample_column(column)] = array
    further = [str(name) for name in cohort.samples.columns if name not in manifest.columns]
    further = [name for name in further if name not in taken]
    if further:
        notices.append(
            f"sample table: left out, because the set does not have: {_listed(further)}."
        )
    return pa.table(columns), notices


def _source(manifest: Manifest, cohort: Cohort, column: str) -> str | None:
    """Column of the cohort that becomes a column of the set."""
    if column in cohort.samples.columns:
        return column
    for role in ("label", "subject", "batch", "time"):
        found: str | None = getattr(cohort.roles, role)
        if getattr(manifest.roles, role) == column and found is not None:
            return found
    return None


def _converted(series: pd.Series, name: str, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array(as_text(series).tolist(), kind)
    try:
        if pa.types.is_null(kind):
            return pa.nulls(len(series))
        return pa.Array.from_pandas(series).cast(kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        message = (
            f"sample table, column '{name}': expected values of type {kind}, as the set has "
            f"them, found others ({error}). Correct the column, or leave it out."
        )
        raise CohortError(message) from error


def _require_subject_column(manifest: Manifest, cohort: Cohort) -> None:
    subject = manifest.roles.subject
    if subject is None or _source(manifest, cohort, subject) is not None:
        return
    message = (
        f"sample table: expected a column '{subject}' with the subject of each new sample, as the "
        f"set has it, found {_listed(list(map(str, cohort.samples.columns))) or 'no column'}. A "
        "subject must never stand on two sides of the split: add the column, or name the one "
        "that holds it (--subject)."
    )
    raise CohortError(message)


def _require_unit(manifest: Manifest, cohort: Cohort) -> None:
    """Refuse times that count something else: they are stored beside those of the set."""
    time, ours = manifest.roles.time, manifest.roles.time_unit
    theirs = cohort.roles.time_unit
    if time is None or cohort.roles.time is None or ours == theirs:
        return
    source = _source(manifest, cohort, time)
    if source is None or not pd.api.types.is_numeric_dtype(cohort.samples[source].dtype):
        return
    message = (
        f"sample table, column '{source}' (time): expected {ours}, as the set has them, found "
        f"{theirs} (time_unit). Convert the column and say so (--time-unit {ours})."
    )
    raise CohortError(message)


def _require_identities(index: SetIndex, new_ids: Sequence[str]) -> None:
    uids = np.concatenate([index.uid, sample_uid(new_ids)])
    pair = schema.repeated_identity(uids)
    if pair is None:
        return
    names = [*map(str, index.samples.index), *new_ids]
    message = (
        f"samples '{names[pair[0]]}' and '{names[pair[1]]}': expected different sample_uid, found "
        "the same one; every sample needs its own id: rename the new one."
    )
    raise ShardError(message)


def _require_subjects(
    manifest: Manifest,
    index: SetIndex,
    cohort: Cohort,
    known: NDArray[np.int64],
    place: NDArray[np.int64],
) -> None:
    if manifest.roles.subject is None:
        return
    ours = index.samples[manifest.roles.subject].to_numpy()[place]
    theirs = cohort.samples[manifest.roles.subject].to_numpy()[known]
    names = cohort.samples.index[known]
    for name, one, other in zip(names, ours, theirs, strict=True):
        # A sample that names no subject was read as its own.
        if other not in (None, one, name):
            message = (
                f"sample '{name}': it is of subject '{one}' in the "
                f"set, of '{other}' in the cohort. Correct one of them: a layer is added to a "
                "sample of the same name only if it is the same sample."
            )
            raise CohortError(message)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_MOST_NAMES])
    return shown + (", ..." if len(names) > _MOST_NAMES else "")
