"""From tables and a sample table to a cohort: which row belongs to which sample.

Everything that a reader puts right or leaves out here is said in the cohort's notices.
Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.check import check_values, examples
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.kinds import guess_kind, parts_of
from immo_hpc.data.matrices import gather
from immo_hpc.data.parts import (
    Parts,
    checked_tables,
    empty_places,
    names_with_values,
    refuse_strangers,
    tell,
    tell_strangers,
)
from immo_hpc.data.sample_table import SampleTable, settle_samples
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError


def assemble(parts: Parts, description: CohortDescription) -> Cohort:
    """Check the parts and put them together.

    Args:
        parts: Tables and sample table.
        description: Kinds, roles, and what to do with samples without any layer.

    Raises:
        CohortError: For doubled names, values a layer cannot hold, a layer without any of the
            samples, a sample without any layer, or a named column that is absent.
    """
    notices: list[str] = []
    chosen = checked_tables(parts, description, notices)
    settled = _settled(parts, description, chosen)
    notices = [*parts.notices, *settled.notices, *notices]
    ids = pd.Index(settled.frame.index)
    described = description.layers or {}
    layers = [_layer(table, ids, described.get(table.name), parts, notices) for table in chosen]
    for layer in layers:
        check_values(layer, ids[layer.rows])
    whole = Cohort(settled.frame, {layer.name: layer for layer in layers}, settled.roles)
    measured = _only_measured(whole, parts, description, notices)
    return replace(measured, notices=tuple(notices))


def _settled(parts: Parts, description: CohortDescription, tables: Sequence[Table]) -> SampleTable:
    samples = parts.samples
    if samples is None:
        names = dict.fromkeys(name for table in tables for name in names_with_values(table))
        samples = pd.DataFrame(index=pd.Index(list(names), dtype=object))
    return settle_samples(samples, description, parts.samples_where)


def _layer(
    table: Table,
    ids: pd.Index,
    description: LayerDescription | None,
    parts: Parts,
    notices: list[str],
) -> Layer:
    place = ids.get_indexer(pd.Index(table.sample_ids, dtype=object)).astype(np.int64)
    known = place >= 0
    empty, empty_features = empty_places(table.values, known)
    if not known.any() and not (empty.all() and len(ids) == 0):
        refuse_strangers(table, ids, parts.samples_where)
    tell_strangers(notices, table, known, parts.samples_where)
    tell(notices, table, known & empty, "rows hold no value and count as not measured")
    kept = np.flatnonzero(known & ~empty)
    kept = kept[np.argsort(place[kept], kind="stable")]
    table = _gathered(table, kept, empty_features, parts.scratch, notices)
    return _with_kind(table, place[kept], description, notices)


def _gathered(
    table: Table,
    kept: NDArray[np.int64],
    empty: NDArray[np.bool_],
    scratch: Path | None,
    notices: list[str],
) -> Table:
    """The kept rows, without features that were never measured in them."""
    if len(kept) == 0:
        message = (
            f"{table.where}: expected measurements, found only missing values. Remove the table, "
            "or leave it out with --layers."
        )
        raise CohortError(message)
    if empty.any():
        names = [table.features[place] for place in np.flatnonzero(empty)]
        notices.append(
            f"{table.name}: {len(names)} features hold no value in any sample and were dropped "
            f"({examples(names)})."
        )
    columns = np.flatnonzero(~empty)
    features = tuple(table.features[place] for place in columns)
    values = gather(table.values, kept, columns, scratch=scratch)
    return replace(table, features=features, values=values)


def _with_kind(
    table: Table,
    rows: NDArray[np.int64],
    description: LayerDescription | None,
    notices: list[str],
) -> Layer:
    kind = description.kind if description else None
    if kind is None:
        kind = guess_kind(table.values)
        parts = parts_of(table.values) if kind == "composition" else None
        detail = f" (rows sum to about {'100' if parts == 'percent' else '1'})" if parts else ""
        notices.append(
            f"{table.name}: kind '{kind}' guessed from the values{detail}; if that is wrong, "
            "name the kind in cohort.yaml."
        )
    return Layer(table.name, kind, table.features, table.values, rows, table.source)


def _only_measured(
    cohort: Cohort, parts: Parts, description: CohortDescription, notices: list[str]
) -> Cohort:
    """The samples that have a layer; what happens to the others is a matter of where they are."""
    bare = ~cohort.measured().any(axis=1)
    if not bare.any():
        return cohort
    names = np.asarray(cohort.sample_ids, dtype=object)
    where = parts.samples_where
    unused = {table: held & set(names[bare]) for table, held in parts.elsewhere().items()}
    found: set[str] = set().union(*unused.values())
    if found:
        listed = [name for name in names[bare] if name in found]
        tables = ", ".join(table for table, held in unused.items() if held)
        notices.append(
            f"{where}: {len(listed)} samples stand only in tables that are not used ({tables}) "
            f"and were left out ({examples(listed)})."
        )
    lost = [name for name in names[bare] if name not in found]
    if lost and description.unmeasured == "error":
        message = (
            f"{where}: expected each sample to stand in at least one layer "
            f"({', '.join(cohort.layers)}), found {len(lost)} in none: {examples(lost)}. Remove "
            "these rows, add their measurements, or write 'unmeasured: drop' in cohort.yaml."
        )
        raise CohortError(message)
    if lost:
        notices.append(
            f"{where}: {len(lost)} samples have no layer and were dropped ({examples(lost)})."
        )
    return cohort.take(np.flatnonzero(~bare))
