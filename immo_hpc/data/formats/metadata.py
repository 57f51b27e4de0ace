"""``hmp2_metadata.csv``: one row an assay, turned into one row a stool collection."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from immo_hpc.data.check import choices, examples
from immo_hpc.data.formats.head import Head
from immo_hpc.data.formats.sniff import ASSAY_KEYS
from immo_hpc.data.sample_table import DEFAULT_SUBJECT
from immo_hpc.data.tables import ID_COLUMN, MISSING_TEXTS, reading
from immo_hpc.data.text_cells import ragged_message
from immo_hpc.data.text_table import opened_text
from immo_hpc.errors import CohortError

EXTERNAL_ID, PARTICIPANT, COLLECTION, DATA_TYPE = ASSAY_KEYS
LABEL = "label_ibd"
SITE = "site"
WEEK = "week_num"
# Column of the sample table: column of the metadata.
COLUMNS = {
    DEFAULT_SUBJECT: PARTICIPANT,
    "diagnosis": "diagnosis",
    SITE: "site_name",
    WEEK: "week_num",
    "visit_num": "visit_num",
    "sex": "sex",
    "age": "consent_age",
    "race": "race",
    "antibiotics": "Antibiotics",
    "fecalcal": "fecalcal",
    "hbi": "hbi",
    "sccai": "sccai",
}
_LABELS = {"nonIBD": "0", "CD": "1", "UC": "1"}
# Two assays of one collection may not contradict each other in these.
_SURE = (DEFAULT_SUBJECT, "diagnosis")


@dataclass(frozen=True)
class Assays:
    """The metadata as it stands.

    Attributes:
        path: The file.
        frame: One row an assay, text, None where empty; index counts rows from 0.
    """

    path: Path
    frame: pd.DataFrame

    def collections(self, data_type: str | None) -> dict[str, str]:
        """Collection of each External ID, of one data type or of all."""
        frame = self.frame
        if data_type is not None:
            frame = frame[frame[DATA_TYPE] == data_type]
        return dict(zip(frame[EXTERNAL_ID], frame[COLLECTION], strict=True))

    @property
    def data_types(self) -> list[str]:
        """Data types in the order of the file."""
        return [str(name) for name in self.frame[DATA_TYPE].dropna().unique()]


def read_metadata(head: Head, further: Collection[str], notices: list[str]) -> Assays:
    """Read the columns that are used.

    An assay without a collection (``site_sub_coll``) is a sample of its own, named by its
    External ID; one without an External ID belongs to no table and is left out.

    Args:
        head: Header of the file.
        further: Columns to read besides those in `COLUMNS`, named as in the file.
        notices: Gets what was left out.

    Raises:
        CohortError: If a key column is absent, a line is of another length than the header, or
            an External ID of one data type names two collections.
    """
    for key in ASSAY_KEYS:
        if key not in head.columns:
            message = (
                f"{head.path}: expected a column '{key}' of the HMP2 metadata, found none; "
                f"{choices(key, head.columns)}. Give the file as published, or correct "
                "'samples:' in cohort.yaml."
            )
            raise CohortError(message)
    used = list(dict.fromkeys([*ASSAY_KEYS, *COLUMNS.values(), *further]))
    used = [column for column in used if column in head.columns]
    frame = _read(head, used)
    unnamed = frame[EXTERNAL_ID].isna()
    if unnamed.any():
        notices.append(
            f"{head.path.name}: {int(unnamed.sum())} assays have no External ID and were left out."
        )
        frame = frame[~unnamed].reset_index(drop=True)
    frame[COLLECTION] = frame[COLLECTION].where(frame[COLLECTION].notna(), frame[EXTERNAL_ID])
    _refuse_two_collections(head.path, frame)
    return Assays(head.path, frame)


def sample_rows(assays: Assays, names: Collection[str], notices: list[str]) -> pd.DataFrame:
    """One row a collection, of those that are named, in the order of the file.

    Each column takes the first value that any assay of the collection has. Assays that
    contradict each other in the participant or diagnosis are refused; in other columns the
    first is kept and this is told.

    Args:
        assays: The metadata.
        names: Collections to give.
        notices: Gets the columns with contradictions, and what counts as no label.

    Returns:
        Index ``sample_id``; columns of `COLUMNS` that are there with `LABEL` behind
        the first, then the further columns that were read.

    Raises:
        CohortError: For two participants or two diagnoses of one collection.
    """
    frame = assays.frame[assays.frame[COLLECTION].isin(set(names))]
    named = {old: new for new, old in COLUMNS.items()}
    kept = [column for column in frame.columns if column not in ASSAY_KEYS or column == PARTICIPANT]
    frame = frame[[COLLECTION, *kept]].rename(columns=named)
    groups = frame.groupby(COLLECTION, sort=False)
    _tell_contradictions(assays.path, groups, notices)
    samples = groups.first()
    samples = samples.astype(object).where(samples.notna(), None)
    samples.index = pd.Index(samples.index, dtype=object, name=ID_COLUMN)
    if "diagnosis" in samples.columns:
        _tell_other_diagnoses(assays.path, samples["diagnosis"], notices)
        samples[LABEL] = [_LABELS.get(text) if text else None for text in samples["diagnosis"]]
    first = [DEFAULT_SUBJECT, LABEL, *COLUMNS]
    ordered = dict.fromkeys(name for name in first if name in samples.columns)
    return samples[[*ordered, *(name for name in samples.columns if name not in ordered)]]


def _read(head: Head, used: Sequence[str]) -> pd.DataFrame:
    places = [head.columns.index(column) for column in used]
    rows: list[list[str | None]] = []
    with reading(head.path), opened_text(head.path) as stream:
        for _ in range(head.skipped):
            next(stream)
        lines = csv.reader(stream, delimiter=head.delimiter)
        for cells in lines:
            if len(cells) == len(head.columns):
                rows.append([_cell(cells[place]) for place in places])
            elif any(cells):
                line = head.skipped + lines.line_num
                raise CohortError(ragged_message(head.path, line, len(cells), len(head.columns)))
    return pd.DataFrame(rows, columns=list(used), dtype=object)


def _cell(text: str) -> str | None:
    stripped = text.strip()
    return None if stripped in MISSING_TEXTS else stripped


def _refuse_two_collections(path: Path, frame: pd.DataFrame) -> None:
    pairs = frame[[DATA_TYPE, EXTERNAL_ID, COLLECTION]].drop_duplicates()
    doubled = pairs[pairs.duplicated([DATA_TYPE, EXTERNAL_ID], keep=False)]
    if doubled.empty:
        return
    first = doubled.iloc[0]
    found = doubled[
        (doubled[EXTERNAL_ID] == first[EXTERNAL_ID]) & (doubled[DATA_TYPE] == first[DATA_TYPE])
    ]
    message = (
        f"{path}: expected one collection (site_sub_coll) for the {first[DATA_TYPE]} assay "
        f"'{first[EXTERNAL_ID]}', found {examples(found[COLLECTION])}. Correct the rows."
    )
    raise CohortError(message)


def _tell_contradictions(path: Path, groups: Any, notices: list[str]) -> None:
    differing = groups.nunique() > 1
    for column in differing.columns[differing.any()]:
        names = list(differing.index[differing[column]])
        if column in _SURE:
            values = groups.get_group(names[0])[column].dropna().unique()
            message = (
                f"{path}: expected one {COLUMNS[column]} for the collection '{names[0]}', found "
                f"{examples(values)} in different assays ({len(names)} such collections). "
                "Correct the rows."
            )
            raise CohortError(message)
        notices.append(
            f"{path.name}: assays of {len(names)} collections contradict each other in "
            f"'{column}' ({examples(names, 2)}); the first value was kept."
        )


def _tell_other_diagnoses(path: Path, diagnosis: pd.Series, notices: list[str]) -> None:
    others = diagnosis[diagnosis.notna() & ~diagnosis.isin(list(_LABELS))]
    if len(others):
        notices.append(
            f"{path.name}: diagnosis {examples(sorted(set(others)))} is none of "
            f"{', '.join(_LABELS)} and gives no {LABEL} ({len(others)} samples)."
        )
