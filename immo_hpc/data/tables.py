"""One table of a cohort, and what its readers share.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from immo_hpc.data.matrices import gather
from immo_hpc.errors import CohortError, OutputError

ID_COLUMN = "sample_id"
PARQUET = ".parquet"
DELIMITERS = {".tsv": "\t", ".csv": ","}
PACKED = (".gz", ".zst")
MISSING_TEXTS = ("", "NA", "NaN", "nan", "na", "N/A", "n/a", "#N/A", "NULL", "null")
_PANDAS_INDEX = "__index_level_0__"


@dataclass(frozen=True)
class Table:
    """One table as it stands in a file or frame.

    Attributes:
        name: Name of the layer it makes.
        sample_ids: Names of the rows, ``(row,)``.
        features: Names of the columns, ``(feature,)``.
        values: ``(row, feature)``, float32, NaN = missing.
        source: File it came from, if any.
    """

    name: str
    sample_ids: tuple[str, ...]
    features: tuple[str, ...]
    values: NDArray[np.float32]
    source: Path | None = None

    @property
    def where(self) -> str:
        """How messages call it."""
        return str(self.source) if self.source else f"layer '{self.name}'"


def table_suffix(path: Path) -> str | None:
    """``.parquet``, ``.tsv`` or ``.csv``, packed (`PACKED`) or not; None for other files.

    Example:
        >>> table_suffix(Path("mg.tsv.gz")), table_suffix(Path("README.md"))
        ('.tsv', None)
    """
    suffix = _unpacked(path).suffix.lower()
    return suffix if suffix == PARQUET or suffix in DELIMITERS else None


def table_name(path: Path) -> str:
    """File name without its suffixes.

    Example:
        >>> table_name(Path("cohort/mg.tsv.gz"))
        'mg'
    """
    return _unpacked(path).stem


def _unpacked(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in PACKED else path


def choose(table: Table, patterns: Sequence[str], scratch: Path | None = None) -> Table:
    """The table with the features that fit one of ``patterns``; as it is without any.

    Args:
        table: The table.
        patterns: Patterns of features.
        scratch: Folder for the outcome if the table's values are on disk.

    Raises:
        CohortError: If no feature fits.
    """
    if not patterns:
        return table
    places = matching(table.features, patterns)
    if not places:
        message = (
            f"{table.where}: expected columns that fit {' or '.join(patterns)} (columns of this "
            f"layer in cohort.yaml), found none; the first columns are "
            f"{', '.join(table.features[:5])}. Correct the pattern."
        )
        raise CohortError(message)
    if len(places) == len(table.features):
        return table
    features = tuple(table.features[place] for place in places)
    rows = np.arange(len(table.values))
    values = gather(table.values, rows, np.array(places, dtype=np.int64), scratch=scratch)
    return replace(table, features=features, values=values)


def matching(names: Sequence[str], patterns: Sequence[str]) -> list[int]:
    """Places of the names that fit one of ``patterns``; all places without any pattern."""
    if not patterns:
        return list(range(len(names)))
    return [
        place
        for place, name in enumerate(names)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def id_place(names: Sequence[str]) -> int:
    """Place of the column that names the rows: ``sample_id``, else a saved index, else 0."""
    for name in (ID_COLUMN, _PANDAS_INDEX):
        if name in names:
            return list(names).index(name)
    return 0


def checked_ids(ids: Sequence[str], where: str, column: str) -> tuple[str, ...]:
    """Row names without surrounding blanks, after making sure that they are names.

    Raises:
        CohortError: If one is empty, or they are measurements rather than names.
    """
    names = tuple(name.strip() for name in ids)
    if "" in names:
        message = (
            f"{where}: expected a sample_id in each row, found an empty one in row "
            f"{names.index('') + 1} (counted from 1, without the header). Fill it in or remove "
            "the row."
        )
        raise CohortError(message)
    if column != ID_COLUMN:
        _refuse_measurements(names, where, column)
    return names


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged or unreadable file raises into a `CohortError` that names it."""
    try:
        if path.stat().st_size == 0:
            message = f"{path}: expected a table, found an empty file (0 bytes). Write it again."
            raise CohortError(message)
        yield
    except (CohortError, OutputError):
        raise
    except UnicodeDecodeError as error:
        message = f"{path}: expected text in UTF-8, found other bytes ({error}). Save it as UTF-8."
        raise CohortError(message) from error
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise CohortError(damaged_message(path, error)) from error


def damaged_message(path: Path, error: Exception) -> str:
    """What to say about a file that its format's reader refuses."""
    detail = str(error).splitlines()[0] if str(error) else "no detail"
    return (
        f"{path}: cannot be read; it may be truncated or not be what its name says "
        f"({type(error).__name__}: {detail}). Copy or write it again."
    )


NOT_A_LAYER = (
    "Put a number there or leave the cell empty; if the column is no feature, leave it out with "
    "'columns:' in cohort.yaml; if the table is no layer, name those to use with --layers."
)


def text_message(place: str, text: str) -> str:
    """What to say about text found where a number belongs."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"{place}: expected a number, found the text '{shown}'. {NOT_A_LAYER}"


def is_number(text: str) -> bool:
    """True if ``text`` reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _refuse_measurements(names: Sequence[str], where: str, column: str) -> None:
    found = next(
        (name for name in names if is_number(name) and not name.lstrip("+-").isdigit()), None
    )
    if found is not None and all(is_number(name) for name in names):
        message = (
            f"{where}: expected the first column to name the rows (sample_id), found numbers such "
            f"as {found} under '{column}'. Add a first column sample_id."
        )
        raise CohortError(message)
