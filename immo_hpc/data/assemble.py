"""From tables and a sample table to a cohort: which row belongs to which sample.

Everything that a reader puts right or leaves out here is said in the cohort's notices.
Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import is_turned, row_blocks
from immo_hpc.data.check import check_values, examples, require_unique
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.kinds import guess_kind, parts_of
from immo_hpc.data.matrices import gather
from immo_hpc.data.orient import oriented
from immo_hpc.data.sample_table import SampleTable, settle_samples
from immo_hpc.data.tables import ID_COLUMN, Table, choose
from immo_hpc.errors import CohortError

FORBIDDEN_NAMES = ("samples", "cohort")


@dataclass(frozen=True)
class Parts:
    """What a cohort is made of, as it was found.

    Attributes:
        tables: One a layer, in the order of the layers.
        samples: Sample table, index ``sample_id``; None takes the union of the tables' rows.
        samples_where: File of the sample table, for messages.
        elsewhere: Gives, by table that is not used, the names that may be its samples.
        scratch: Folder for what has to be written where tables are on disk.
        notices: What was noticed while they were found.
        may_turn: Whether a table may hold features as rows.
    """

    tables: Sequence[Table]
    samples: pd.DataFrame | None = None
    samples_where: str = "sample table"
    elsewhere: Callable[[], Mapping[str, set[str]]] = field(default=dict)
    scratch: Path | None = None
    notices: tuple[str, ...] = ()
    may_turn: bool = True


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


def checked_tables(parts: Parts, description: CohortDescription, notices: list[str]) -> list[Table]:
    """The tables with samples as rows and the features described, their names checked.

    Raises:
        CohortError: For doubled names, or a layer that cannot have its name.
    """
    _require_names([table.name for table in parts.tables])
    known = None if parts.samples is None else {str(name) for name in parts.samples.index}
    tables = oriented(parts.tables, known, notices) if parts.may_turn else list(parts.tables)
    described = description.layers or {}
    checked = []
    for table in tables:
        patterns = described[table.name].patterns if table.name in described else ()
        table = choose(table, patterns, parts.scratch)
        require_unique(
            table.sample_ids,
            table.where,
            "sample_id",
            "Keep one row a sample, or give each visit its own sample_id.",
        )
        require_unique(table.features, table.where, "column", "Rename or merge these features.")
        _refuse_id_feature(table)
        checked.append(table)
    return checked


def _require_names(names: Sequence[str]) -> None:
    if not names:
        message = "cohort: expected at least one layer, found none. Give at least one table."
        raise CohortError(message)
    require_unique(names, "cohort", "layer", "Give each layer its own name.")
    for name in names:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            message = f"layer '{name}': expected a name that can name a file. Rename the layer."
            raise CohortError(message)
        if name in FORBIDDEN_NAMES:
            message = f"layer '{name}': this name belongs to another file of a cohort. Rename it."
            raise CohortError(message)


def _refuse_id_feature(table: Table) -> None:
    if ID_COLUMN in table.features:
        message = (
            f"{table.where}: column '{ID_COLUMN}' names the rows and cannot be a feature. "
            "Rename the feature."
        )
        raise CohortError(message)


def _settled(parts: Parts, description: CohortDescription, tables: Sequence[Table]) -> SampleTable:
    samples = parts.samples
    if samples is None:
        names = dict.fromkeys(name for table in tables for name in names_with_values(table))
        samples = pd.DataFrame(index=pd.Index(list(names), dtype=object))
    return settle_samples(samples, description, parts.samples_where)


def names_with_values(table: Table) -> list[str]:
    """Names of the rows that hold a value."""
    empty, _ = _empty(table.values)
    return [name for name, is_empty in zip(table.sample_ids, empty, strict=True) if not is_empty]


def _empty(
    values: NDArray[np.float32], counted: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """True for rows that hold no value, ``(row,)``, and for features, ``(feature,)``.

    Args:
        values: ``(row, feature)``, float32, NaN = missing.
        counted: Rows that count for the features, ``(row,)``, bool; all if not given.
    """
    if is_turned(values):
        return _empty_turned(values.T, counted)
    rows = np.empty(len(values), dtype=np.bool_)
    columns = np.ones(values.shape[1], dtype=np.bool_)
    for places, block in row_blocks(values):
        missing = np.isnan(block)
        rows[places] = missing.all(axis=1)
        columns &= (missing if counted is None else missing[counted[places]]).all(axis=0)
    return rows, columns


def _empty_turned(
    values: NDArray[np.float32], counted: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """As `_empty`, of a matrix whose transpose is on disk, ``(feature, row)``."""
    rows = np.ones(values.shape[1], dtype=np.bool_)
    columns = np.empty(len(values), dtype=np.bool_)
    for places, block in row_blocks(values):
        missing = np.isnan(block)
        rows &= missing.all(axis=0)
        columns[places] = (missing if counted is None else missing[:, counted]).all(axis=1)
    return rows, columns


def _layer(
    table: Table,
    ids: pd.Index,
    description: LayerDescription | None,
    parts: Parts,
    notices: list[str],
) -> Layer:
    place = ids.get_indexer(pd.Index(table.sample_ids, dtype=object)).astype(np.int64)
    known = place >= 0
    empty, empty_features = _empty(table.values, known)
    if not known.any() and not (empty.all() and len(ids) == 0):
        refuse_strangers(table, ids, parts.samples_where)
    tell_strangers(notices, table, known, parts.samples_where)
    _tell(notices, table, known & empty, "rows hold no value and count as not measured")
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


def refuse_strangers(table: Table, ids: pd.Index, samples_where: str) -> None:
    """Refuse a table none of whose rows is a sample.

    Raises:
        CohortError: Always.
    """
    message = (
        f"{table.where}: expected rows named as in {samples_where} (such as {examples(ids, 2)}), "
        f"found none of those samples; its rows are {examples(table.sample_ids, 2)} and its "
        f"columns {examples(table.features, 2)}. Use the same sample_id in both, or leave the "
        "table out with --layers."
    )
    raise CohortError(message)


def tell_strangers(
    notices: list[str], table: Table, known: NDArray[np.bool_], samples_where: str
) -> None:
    """Add a sentence on the rows that are no sample, if there are any."""
    _tell(notices, table, ~known, f"rows have no sample in {samples_where} and were left out")


def _tell(notices: list[str], table: Table, where: NDArray[np.bool_], what: str) -> None:
    if where.any():
        names = [table.sample_ids[place] for place in np.flatnonzero(where)]
        notices.append(f"{table.name}: {len(names)} {what} ({examples(names)}).")


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
