"""The sample table: reading it, and putting its columns into one form.

In that form a column holds either numbers or text (None = unknown), so that writing it as
text and reading it back changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from immo_hpc.data.check import choices, examples, require_unique
from immo_hpc.data.cohort import Cohort, Roles
from immo_hpc.data.description import CohortDescription
from immo_hpc.data.parquet_table import id_texts, opened_parquet
from immo_hpc.data.tables import (
    ID_COLUMN,
    MISSING_TEXTS,
    PARQUET,
    checked_ids,
    id_place,
    reading,
    table_suffix,
)
from immo_hpc.data.text_cells import ragged_message
from immo_hpc.data.text_table import text_rows
from immo_hpc.data.times import TimeUnit, as_days
from immo_hpc.errors import CohortError

SAMPLES = "samples"
DEFAULT_SUBJECT = "subject_id"
_NO_LABEL = {"", "na", "nan", "n/a", "#n/a", "null", "none", "unknown"}


@dataclass(frozen=True)
class SampleTable:
    """A sample table in its final form, and what its columns mean.

    Attributes:
        frame: Index ``sample_id``; label, subject and batch columns hold text.
        roles: Meaning of the columns.
        notices: What was assumed, as sentences.
    """

    frame: pd.DataFrame
    roles: Roles
    notices: tuple[str, ...]


def read_sample_table(path: Path) -> pd.DataFrame:
    """Read ``samples.tsv``, ``.csv`` or ``.parquet``, each optionally ``.gz``.

    Returns:
        The columns as they stand, index ``sample_id``.

    Raises:
        CohortError: If the file is empty, damaged or ragged.
    """
    with reading(path):
        if table_suffix(path) == PARQUET:
            return _read_parquet(path)
        rows = text_rows(path)
        _, header = next(rows, (0, []))
        cells: list[list[str]] = []
        for line, row in rows:
            if not cells and len(row) == len(header) + 1:
                header = ["", *header]  # R leaves out the name of the first column.
            if len(row) != len(header):
                raise CohortError(ragged_message(path, line, len(row), len(header)))
            cells.append(row)
    if not cells:
        message = f"{path}: expected a header and one row a sample, found no row. Write it again."
        raise CohortError(message)
    names = [name.strip() for name in header]
    return _indexed(pd.DataFrame(cells, dtype=object).set_axis(names, axis=1), str(path))


def settle_samples(frame: pd.DataFrame, description: CohortDescription, where: str) -> SampleTable:
    """Check the sample table, find its roles and put its columns into their form.

    Args:
        frame: Sample table, index ``sample_id``.
        description: Names of the columns with a role.
        where: File or table, for messages.

    Raises:
        CohortError: For a sample or column that stands twice, or a named column that is absent.
    """
    ids = [str(name) for name in frame.index]
    require_unique(ids, where, "sample_id", "Keep one row a sample, or give visits own names.")
    columns = [str(name) for name in frame.columns]
    require_unique(columns, where, "column", "Rename or remove one of them.")
    roles, notices = _roles(columns, description, where)
    texts = {roles.label, roles.subject, roles.batch}
    index = pd.Index(ids, dtype=object, name=ID_COLUMN)
    data = {
        name: as_text(series) if name in texts else _as_numbers(series)
        for name, (_, series) in zip(columns, frame.items(), strict=True)
    }
    settled = pd.DataFrame({n: s.to_numpy() for n, s in data.items()}, index=index, columns=columns)
    if roles.label is not None:
        notices += _blank_labels(settled, roles.label, description.unlabelled, where)
    if roles.subject is not None:
        notices += _own_subjects(settled, roles.subject, where)
    if roles.time is not None:
        _require_times(settled[roles.time], roles.time_unit, where)
    return SampleTable(settled, _matched_positive(roles, settled), tuple(notices))


def with_known_roles(cohort: Cohort, known: Roles) -> Cohort:
    """A new cohort whose columns say who and when if they did so in the cohort of a training.

    Args:
        cohort: A cohort; what it says itself is left as it is.
        known: Meaning of the columns in the training cohort.

    Raises:
        CohortError: If the column of times holds something else.
    """
    samples, roles, notices = cohort.samples, cohort.roles, list(cohort.notices)
    where = "sample table"
    subject, time = known.subject, known.time
    if roles.subject is None and subject in samples.columns and subject != roles.label:
        samples = samples.assign(**{str(subject): as_text(samples[subject])})
        roles = replace(roles, subject=subject)
        notices.append(f"{where}: column '{subject}' is taken as the subject, as in training.")
        notices += _own_subjects(samples, str(subject), where)
    if roles.time is None and time in samples.columns:
        roles = replace(roles, time=time, time_unit=known.time_unit)
        _require_times(samples[time], roles.time_unit, where)
        notices.append(
            f"{where}: column '{time}' is taken as the time of each sample, in {roles.time_unit}, "
            "as in training."
        )
    return replace(cohort, samples=samples, roles=roles, notices=tuple(notices))


def as_text(series: pd.Series) -> pd.Series:
    """The column as text without surrounding blanks, None where missing, dtype object.

    Example:
        >>> as_text(pd.Series([1.0, None, 2.0])).tolist()
        ['1', None, '2']
    """
    texts = [_text(value) for value in series.astype(object)]
    return pd.Series(texts, index=series.index, dtype=object)


def _read_parquet(path: Path) -> pd.DataFrame:
    with opened_parquet(path) as file:
        content = file.read()
    names = [str(name) for name in content.column_names]
    place = id_place(names)
    ids = id_texts(content.column(place), path, names[place])
    columns: list[Any] = [content.column(n).to_pandas() for n in range(len(names)) if n != place]
    kept = [name for number, name in enumerate(names) if number != place]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(len(ids)))
    return frame.set_axis(kept, axis=1).set_axis(pd.Index(ids, dtype=object), axis=0)


def _indexed(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    names = [str(name) for name in frame.columns]
    place = id_place(names)
    ids = checked_ids([str(name) for name in frame.iloc[:, place]], where, names[place])
    rest = frame.iloc[:, [number for number in range(len(names)) if number != place]]
    return rest.set_axis(pd.Index(ids, dtype=object), axis=0)


def _roles(
    columns: list[str], description: CohortDescription, where: str
) -> tuple[Roles, list[str]]:
    named: Mapping[str, str | None] = {
        "label": description.label,
        "subject": description.subject,
        "batch": description.batch,
        "time": description.time,
        **{f"covariates: {name}": name for name in description.covariates},
    }
    for role, name in named.items():
        if name is not None and name not in columns:
            message = (
                f"{where}: expected a column '{name}' ({role.partition(':')[0]}), found none of "
                f"that name; {choices(name, columns)}. Name one of these in cohort.yaml or as "
                "an option."
            )
            raise CohortError(message)
    if description.label is not None and description.label == description.subject:
        message = (
            f"{where}: column '{description.label}' is named as label and as subject; expected "
            "two columns. Name another one for one of them."
        )
        raise CohortError(message)
    subject, notices = description.subject, []
    if subject is None and DEFAULT_SUBJECT in columns and description.label != DEFAULT_SUBJECT:
        subject = DEFAULT_SUBJECT
        notices.append(f"{where}: column '{subject}' is taken as the subject of each sample.")
    roles = Roles(
        description.label,
        description.positive,
        subject,
        description.batch,
        description.covariates,
        description.time,
        description.time_unit or "days",
    )
    return roles, notices


def _text(value: Any) -> str | None:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = " ".join(str(value).split())
    return None if text in MISSING_TEXTS else text


def _as_numbers(series: pd.Series) -> pd.Series:
    """The column as int64 or float64 if all it holds are numbers, else as text."""
    if pd.api.types.is_float_dtype(series.dtype):
        return _whole_if_possible(series.astype("float64"))
    texts = as_text(series)
    if texts.isna().all():
        return texts
    try:
        numbers = pc.cast(pa.array(texts, type=pa.string()), pa.float64())
    except pa.ArrowInvalid:
        return texts
    return _whole_if_possible(pd.Series(numbers.to_numpy(zero_copy_only=False), index=series.index))


def _whole_if_possible(numbers: pd.Series) -> pd.Series:
    if numbers.isna().all():
        return pd.Series([None] * len(numbers), index=numbers.index, dtype=object)
    whole = numbers.notna() & (numbers % 1 == 0) & (numbers.abs() < 2**53)
    return numbers.astype("int64") if whole.all() else numbers


def _blank_labels(
    frame: pd.DataFrame, label: str, further: tuple[str, ...], where: str
) -> list[str]:
    texts = frame[label]
    meant = texts.map(
        lambda text: text is not None and (text.casefold() in _NO_LABEL or text in further)
    )
    if not meant.any():
        return []
    found = examples(sorted(set(texts[meant])))
    frame[label] = texts.where(~meant, None)
    return [f"{where}, column '{label}': {found} counts as no label ({int(meant.sum())} samples)."]


def _own_subjects(frame: pd.DataFrame, subject: str, where: str) -> list[str]:
    unknown = frame[subject].isna()
    if not unknown.any():
        return []
    own = pd.Series(frame.index, index=frame.index, dtype=object)
    frame[subject] = frame[subject].where(~unknown, own)
    return [
        f"{where}, column '{subject}': {int(unknown.sum())} samples name no subject and count as "
        f"subjects of their own ({examples(frame.index[unknown])})."
    ]


def _require_times(column: pd.Series, unit: TimeUnit, where: str) -> None:
    is_wrong = column.notna().to_numpy() & np.isnan(as_days(column, unit))
    if not is_wrong.any():
        return
    wrong = column[is_wrong]
    message = (
        f"{where}, column '{column.name}' (time): expected numbers or ISO dates such as "
        f"2015-03-02, found '{wrong.iloc[0]}' (samples {examples(wrong.index)}). Leave out what "
        "is not known, or name another column."
    )
    raise CohortError(message)


def _matched_positive(roles: Roles, frame: pd.DataFrame) -> Roles:
    """Let ``positive: 1`` mean the label text '1.0' where that is how it is written."""
    if roles.label is None or roles.positive is None:
        return roles
    values = [str(text) for text in frame[roles.label].dropna().unique()]
    if roles.positive in values:
        return roles
    for text in values:
        if _is_same_number(text, roles.positive):
            return replace(roles, positive=text)
    return roles


def _is_same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False
