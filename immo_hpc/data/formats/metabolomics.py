"""``HMP2_metabolomics.csv``: one row a compound, first its annotation, then one column a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.check import choices, examples
from immo_hpc.data.formats.grid import GridPlace, as_table, read_grid, without_empty
from immo_hpc.data.formats.head import Head, read_head
from immo_hpc.data.formats.sniff import ANNOTATIONS
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError

_NEEDED = ("Method", "Metabolite", "Compound")


def read_metabolomics(
    head: Head,
    name: str,
    notices: list[str],
    *,
    named_only: bool = True,
    scratch: Path | None = None,
) -> Table:
    """Read the peak intensities.

    A feature is a compound of one method, named ``method:compound:metabolite``
    (``C18-neg:C18n_QI08:caproate``), without the last part where the metabolite is not known.
    Intensities of different compounds are never added up, since each has its own scale: a
    metabolite that several methods measure gives several features. An empty cell means not
    detected and stays missing; an intensity of 0 means the same and is made missing.

    Args:
        head: Header of the file.
        name: Name of the layer.
        notices: Gets what was left out and where the annotation is.
        named_only: Whether to read only compounds with a metabolite's name.
        scratch: Folder for the values; None holds them in memory.

    Raises:
        CohortError: If a needed column is absent, or no compound is left.
    """
    for column in _NEEDED:
        if column not in head.columns:
            message = (
                f"{head.path}: expected a column '{column}' of the HMP2 metabolomics table, found "
                f"none; {choices(column, head.columns[:10])}. Correct 'format:' in cohort.yaml."
            )
            raise CohortError(message)
    texts = [column for column in ANNOTATIONS if column in head.columns]

    def wanted(cells: dict[str, list[str]]) -> NDArray[np.bool_]:
        return np.array([bool(text) or not named_only for text in cells["Metabolite"]], np.bool_)

    place = GridPlace.of(head, name, scratch, named_only)
    grid = read_grid(head, texts, wanted, zeros_are_missing=True, place=place)
    features = _features(grid.texts)
    if not features:
        message = (
            f"{head.path}: expected compounds with a name under 'Metabolite', found none among "
            f"{grid.num_rows}. Write 'named_only: false' for this layer in cohort.yaml."
        )
        raise CohortError(message)
    unnamed = grid.num_rows - len(features)
    extra = [text for text in texts if text not in _NEEDED]
    notices.append(
        f"{name}: {len(features)} of {grid.num_rows} compounds of {head.path.name} were read"
        + (f"; {unnamed} without a metabolite's name were left out (named_only)" if unnamed else "")
        + (
            f". Their annotation ({', '.join(extra)}) is in the file, and in Python in "
            if extra
            else ""
        )
        + ("immo_hpc.data.formats.metabolomics.read_annotation." if extra else ".")
    )
    if grid.num_zeros:
        notices.append(
            f"{name}: {grid.num_zeros} intensities of 0 mean not detected and count as missing."
        )
    table = as_table(grid, head, name, features)
    table, lost = without_empty(table, lambda values: ~np.isnan(values), scratch)
    if lost:
        notices.append(
            f"{name}: {len(lost)} samples hold no intensity and were left out ({examples(lost)})."
        )
    return table


def read_annotation(path: Path) -> pd.DataFrame:
    """Read what the table says of each compound.

    Returns:
        One row a compound, named or not; index ``feature`` as `read_metabolomics` names them,
        columns as in the file (Method, m/z, RT, HMDB id, ...), text, '' where it says nothing.

    Raises:
        CohortError: As for `read_metabolomics`.
    """
    head = read_head(path)
    texts = [column for column in ANNOTATIONS if column in head.columns]
    samples = [column for column in head.columns if column not in texts]
    grid = read_grid(
        head, texts, lambda cells: np.ones(len(cells[texts[0]]), np.bool_), drop=samples[1:]
    )
    return pd.DataFrame(grid.texts, index=pd.Index(_features(grid.texts), name="feature"))


def _features(texts: dict[str, list[str]]) -> list[str]:
    rows = zip(texts["Method"], texts["Compound"], texts["Metabolite"], strict=True)
    return [":".join(part for part in row if part) for row in rows]
