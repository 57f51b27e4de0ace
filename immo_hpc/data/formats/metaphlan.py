"""Merged MetaPhlAn profiles, versions 2 to 4."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.check import examples
from immo_hpc.data.description import Rank
from immo_hpc.data.formats.grid import GridPlace, as_table, read_grid, without_empty
from immo_hpc.data.formats.head import Head
from immo_hpc.data.formats.sniff import UNKNOWN_CLADES
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError

_PREFIXES: dict[Rank, tuple[str, ...]] = {
    "kingdom": ("k__", "d__"),
    "phylum": ("p__",),
    "class": ("c__",),
    "order": ("o__",),
    "family": ("f__",),
    "genus": ("g__",),
    "species": ("s__",),
    "strain": ("t__",),
}
_TAX_IDS = ("NCBI_tax_id", "NCBI_taxid", "clade_taxid")
_SUFFIX = re.compile(r"_(taxonomic_profile|metaphlan_bugs_list|metaphlan|bugs_list|profile)$")


def read_metaphlan(
    head: Head,
    name: str,
    notices: list[str],
    *,
    rank: Rank = "species",
    scratch: Path | None = None,
) -> Table:
    """Read one rank of a merged profile.

    The features are the rows whose last clade is of that rank, named by that clade
    (``s__Bacteroides_ovatus``), or by the whole lineage where two rows share it. The column
    of NCBI ids is dropped, and so is what could not be assigned (``UNKNOWN``,
    ``UNCLASSIFIED``): it is no taxon. Clades that MetaPhlAn itself calls unclassified below a
    known one (``s__Blautia_unclassified``) are taxa and stay.

    Args:
        head: Header of the file.
        name: Name of the layer.
        notices: Gets what was left out.
        rank: Rank to keep.
        scratch: Folder for the values; None holds them in memory.

    Returns:
        Samples by clades, as written (percent, in official profiles).

    Raises:
        CohortError: If the profile is of one sample, or no row is of that rank.
    """
    if "relative_abundance" in head.columns:
        message = (
            f"{head.path}: expected a merged profile with one column a sample, found the profile "
            "of one sample (column 'relative_abundance'). Merge the profiles with "
            "merge_metaphlan_tables.py."
        )
        raise CohortError(message)
    corner = head.columns[0]
    dropped = [column for column in head.columns if column in _TAX_IDS]
    unknown: list[str] = []
    ranks: Counter[str] = Counter()

    def of_rank(texts: dict[str, list[str]]) -> NDArray[np.bool_]:
        clades = [lineage.rpartition("|")[2] for lineage in texts[corner]]
        unknown.extend(clade for clade in clades if clade in UNKNOWN_CLADES)
        ranks.update(clade[:3] for clade in clades if clade[1:3] == "__")
        return np.array([clade.startswith(_PREFIXES[rank]) for clade in clades], dtype=np.bool_)

    place = GridPlace.of(head, name, scratch, rank)
    grid = read_grid(head, [corner], of_rank, drop=dropped, place=place)
    lineages = grid.texts[corner]
    if not lineages:
        raise CohortError(_no_clade(head, rank, ranks))
    notices.append(
        f"{name}: {len(lineages)} of {grid.num_rows} rows of {head.path.name} are of rank {rank} "
        "and were read"
        + (
            f"; {examples(dict.fromkeys(unknown))} is no taxon and was left out."
            if unknown
            else "."
        )
    )
    table = as_table(grid, head, name, _clade_names(lineages))
    table = replace(table, sample_ids=tuple(map(sample_name, grid.columns)))
    table, lost = without_empty(table, scratch=scratch)
    if lost:
        notices.append(
            f"{name}: {len(lost)} profiles hold no {rank} at all and were left out "
            f"({examples(lost)})."
        )
    return table


def sample_name(column: str) -> str:
    """Name of a column without what MetaPhlAn's scripts add.

    Example:
        >>> sample_name("CSM5FZ3N_P_profile"), sample_name("206700_taxonomic_profile")
        ('CSM5FZ3N_P', '206700')
    """
    return _SUFFIX.sub("", column)


def _clade_names(lineages: list[str]) -> list[str]:
    clades = [lineage.rpartition("|")[2] for lineage in lineages]
    times = Counter(clades)
    return [
        clade if times[clade] == 1 else lineage
        for clade, lineage in zip(clades, lineages, strict=True)
    ]


def _no_clade(head: Head, rank: Rank, ranks: Counter[str]) -> str:
    known = [name for name, prefixes in _PREFIXES.items() if any(p in ranks for p in prefixes)]
    if not known:
        return (
            f"{head.path}: expected MetaPhlAn clades such as k__Bacteria|p__Firmicutes as rows, "
            f"found {examples(head.rows, 2)}. Correct 'format:' in cohort.yaml."
        )
    return (
        f"{head.path}: expected rows of rank {rank} ({_PREFIXES[rank][0]}...), found none; there "
        f"are {', '.join(known)}. Name one of these with 'rank:' in cohort.yaml."
    )
