"""What a cohort is made of, as it was found, and the checks of it that need no other part.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import is_turned, row_blocks
from immo_hpc.data.check import examples, require_unique
from immo_hpc.data.description import CohortDescription
from immo_hpc.data.orient import oriented
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


def names_with_values(table: Table) -> list[str]:
    """Names of the rows that hold a value."""
    empty, _ = empty_places(table.values)
    return [name for name, is_empty in zip(table.sample_ids, empty, strict=True) if not is_empty]


def empty_places(
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
    """As `empty_places`, of a matrix whose transpose is on disk, ``(feature, row)``."""
    rows = np.ones(values.shape[1], dtype=np.bool_)
    columns = np.empty(len(values), dtype=np.bool_)
    for places, block in row_blocks(values):
        missing = np.isnan(block)
        rows &= missing.all(axis=0)
        columns[places] = (missing if counted is None else missing[:, counted]).all(axis=1)
    return rows, columns


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
    tell(notices, table, ~known, f"rows have no sample in {samples_where} and were left out")


def tell(notices: list[str], table: Table, where: NDArray[np.bool_], what: str) -> None:
    """Add a sentence on the rows of a table that are True in ``where``, if there are any."""
    if where.any():
        names = [table.sample_ids[place] for place in np.flatnonzero(where)]
        notices.append(f"{table.name}: {len(names)} {what} ({examples(names)}).")
