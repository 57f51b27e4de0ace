"""HUMAnN tables, versions 2 to 4: pathway abundance, gene families and their regroupings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.blocks import on_disk, row_blocks
from immo_hpc.data.check import examples
from immo_hpc.data.formats.grid import GridPlace, as_table, read_grid, without_empty
from immo_hpc.data.formats.head import Head
from immo_hpc.data.formats.sniff import SPECIAL_ROWS
from immo_hpc.data.matrices import kept_matrix
from immo_hpc.data.spool import spool_name
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError

_SUFFIX = re.compile(
    r"(_(pathabundance|pathcoverage|genefamilies|reactions|ecs|level4ec|kos)(_(cpm|relab|rpks?))?)?"
    r"(_(Abundance|Coverage))?(-(RPKs|CPM|RELAB))?$",
    re.IGNORECASE,
)


def read_humann(
    head: Head,
    name: str,
    notices: list[str],
    *,
    stratified: bool = False,
    scratch: Path | None = None,
) -> Table:
    """Read the community rows, or the rows by taxon, of a HUMAnN table.

    A community row stands for the whole sample (``PWY-5100: ...``); a stratified row for the
    share of one taxon (``PWY-5100: ...|g__Blautia.s__Blautia_obeum``). They overlap, so one
    of both is read, never both. What was not assigned to a feature (``UNMAPPED``,
    ``UNINTEGRATED``, ``UNGROUPED``) is dropped, by taxon too. Values become fractions of what
    was assigned: rows of the table sum to 1, whether copies per million, relative abundance or
    reads per kilobase are written, and however much of a sample was not assigned.

    Args:
        head: Header of the file.
        name: Name of the layer.
        notices: Gets what was left out.
        stratified: Whether to read the rows by taxon.
        scratch: Folder for the values; None holds them in memory.

    Returns:
        Samples by features, fractions; samples with nothing above 0 are left out.

    Raises:
        CohortError: If the values are coverage, or there are only rows of the other sort.
    """
    corner = head.columns[0]
    if is_coverage(head):
        message = (
            f"{head.path}: expected abundance, found coverage (column '{head.columns[1]}'), which "
            "says how surely a pathway is there, not how much. Give the table of pathabundance, "
            "or leave this one out with --layers."
        )
        raise CohortError(message)
    special: list[str] = []
    others = 0

    def wanted(texts: dict[str, list[str]]) -> NDArray[np.bool_]:
        nonlocal others
        is_special = np.array([_base(row) in SPECIAL_ROWS for row in texts[corner]], dtype=np.bool_)
        is_stratified = np.array(["|" in row for row in texts[corner]], dtype=np.bool_)
        special.extend(_base(texts[corner][place]) for place in np.flatnonzero(is_special))
        others += int((~is_special & (is_stratified != stratified)).sum())
        kept: NDArray[np.bool_] = ~is_special & (is_stratified == stratified)
        return kept

    place = GridPlace.of(head, name, scratch, stratified)
    grid = read_grid(head, [corner], wanted, place=place)
    features = grid.texts[corner]
    if not features:
        raise CohortError(_no_rows(head, stratified, others))
    sort = "by taxon" if stratified else "for the whole sample"
    left = f"; {others} rows {'for whole samples' if stratified else 'by taxon'} were left out"
    notices.append(
        f"{name}: {len(features)} of {grid.num_rows} rows of {head.path.name}, {sort}, were read"
        + (left if others else "")
        + (f"; {examples(dict.fromkeys(special))} is no feature" if special else "")
        + ". Values are fractions of what these rows hold."
    )
    table = as_table(grid, head, name, features)
    table = replace(table, sample_ids=tuple(map(sample_name, grid.columns)))
    table, lost = without_empty(table, scratch=scratch)
    table = replace(table, values=_fractions(table, scratch, stratified))
    if lost:
        notices.append(
            f"{name}: {len(lost)} samples hold nothing above 0 in these rows and were left out "
            f"({examples(lost)})."
        )
    return table


def _fractions(table: Table, scratch: Path | None, stratified: bool) -> NDArray[np.float32]:
    """Values of a table whose rows sum to 1."""

    def of(block: NDArray[np.float32]) -> NDArray[np.float32]:
        totals = np.nansum(block, axis=1, keepdims=True, dtype=np.float64)
        return (block / totals).astype(np.float32)

    if scratch is None or not on_disk(table.values):
        return of(table.values)
    assert table.source is not None
    name = spool_name(table.source, table.name, "fractions", stratified)
    blocks = (of(block) for _, block in row_blocks(table.values))
    return kept_matrix(scratch, name, table.values.shape, blocks)


def is_coverage(head: Head) -> bool:
    """True if the columns are named as HUMAnN names those of coverage."""
    return all(column.lower().endswith("coverage") for column in head.columns[1:])


def sample_name(column: str) -> str:
    """Name of a column without what HUMAnN and its scripts add.

    Example:
        >>> sample_name("S1_Abundance-RPKs"), sample_name("CSM5FZ3N_P_pathabundance_cpm")
        ('S1', 'CSM5FZ3N_P')
    """
    return _SUFFIX.sub("", column)


def _base(row: str) -> str:
    return row.partition("|")[0].partition(":")[0].strip()


def _no_rows(head: Head, stratified: bool, others: int) -> str:
    if not others:
        return (
            f"{head.path}: expected pathways or gene families as rows, found none besides "
            f"{', '.join(SPECIAL_ROWS)}. Check that HUMAnN finished, or correct 'format:'."
        )
    if stratified:
        found, remedy = "rows for whole samples only", "Leave out 'stratified:'"
    else:
        found, remedy = "rows by taxon (with '|') only", "Write 'stratified: true'"
    return (
        f"{head.path}: expected rows {'by taxon' if stratified else 'for whole samples'}, found "
        f"{found}. {remedy} for this layer in cohort.yaml."
    )
