"""Cohorts from pandas tables, with the same checks as cohorts from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.config import LayerKind
from immo_hpc.data.assemble import assemble
from immo_hpc.data.check import choices
from immo_hpc.data.cohort import Cohort, Roles
from immo_hpc.data.description import parse_description
from immo_hpc.data.parts import Parts
from immo_hpc.data.tables import MISSING_TEXTS, Table, is_number, text_message
from immo_hpc.errors import CohortError


def cohort_from_frames(
    tables: Mapping[str, pd.DataFrame],
    samples: pd.DataFrame | None = None,
    *,
    kinds: Mapping[str, LayerKind] | None = None,
    roles: Roles | None = None,
    unlabelled: tuple[str, ...] = (),
    unmeasured: Literal["error", "drop"] = "error",
) -> Cohort:
    """Make a cohort of tables in memory.

    Args:
        tables: By layer: index ``sample_id``, columns features, numbers, NaN = missing.
        samples: Sample table, index ``sample_id``; None takes the union of the tables' rows.
        kinds: How values were made, by layer; guessed where it is not said.
        roles: Meaning of the sample table's columns.
        unlabelled: Further label values that mean 'no label'.
        unmeasured: What to do with samples that stand in no table.

    Raises:
        CohortError: As for `immo_hpc.data.read.read_cohort`.

    Example:
        >>> mg = pd.DataFrame({"a": [0.5, 0.2], "b": [0.5, 0.8]}, index=["s1", "s2"])
        >>> cohort_from_frames({"mg": mg}).layers["mg"].kind
        'composition'
    """
    names = [str(name) for name in tables]
    for name in kinds or {}:
        if name not in names:
            message = f"kinds: no layer '{name}'; {choices(name, names)}."
            raise CohortError(message)
    meant = roles or Roles()
    description = parse_description(
        {
            "layers": {name: {"kind": (kinds or {}).get(name)} for name in names} or None,
            "label": meant.label,
            "positive": meant.positive,
            "subject": meant.subject,
            "batch": meant.batch,
            "covariates": meant.covariates,
            "time": meant.time,
            "time_unit": meant.time_unit,
            "unlabelled": unlabelled,
            "unmeasured": unmeasured,
        },
        where="kinds and roles",
    )
    found = [table_from_frame(str(name), frame) for name, frame in tables.items()]
    return assemble(Parts(found, samples), description)


def table_from_frame(name: str, frame: pd.DataFrame) -> Table:
    """Turn a frame (index samples, columns features) into a table of float32.

    Raises:
        CohortError: If a value is not a number.
    """
    ids = tuple(str(label) for label in frame.index)
    features = tuple(str(label) for label in frame.columns)
    if all(_is_plain(dtype) for dtype in frame.dtypes):
        # A value beyond float32 becomes infinite and is refused as such.
        with np.errstate(over="ignore"):
            values = frame.to_numpy(dtype=np.float32, na_value=np.nan)
    else:
        values = np.empty(frame.shape, dtype=np.float32)
        for place in range(frame.shape[1]):
            values[:, place] = _numbers(frame.iloc[:, place], f"layer '{name}'", features[place])
    if values.size == 0:
        message = (
            f"layer '{name}': expected rows and columns, found {len(ids)} rows and "
            f"{len(features)} columns. Leave the layer out."
        )
        raise CohortError(message)
    return Table(name, ids, features, values)


def _is_plain(dtype: object) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "fiub"


def _numbers(column: pd.Series, where: str, name: str) -> NDArray[np.float32]:
    numbers = np.empty(len(column), dtype=np.float64)
    for row, value in enumerate(column.astype(object)):
        if value is None or value is pd.NA or value is pd.NaT:
            numbers[row] = np.nan
        elif isinstance(value, str):
            numbers[row] = _number(value.strip(), f"{where}, sample '{column.index[row]}'", name)
        elif isinstance(value, int | float | np.number | np.bool_):
            numbers[row] = value
        else:
            place = f"{where}, sample '{column.index[row]}', column '{name}'"
            raise CohortError(text_message(place, str(value)))
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _number(text: str, where: str, name: str) -> float:
    if text in MISSING_TEXTS:
        return np.nan
    if not is_number(text):
        raise CohortError(text_message(f"{where}, column '{name}'", text))
    return float(text)
