"""Telling by content which format a file has."""

from __future__ import annotations

import re
from typing import Literal

from immo_hpc.data.formats.head import Head

Format = Literal["table", "metaphlan", "humann", "hmp2_metabolomics", "hmp2_metadata"]

FORMAT_TEXTS: dict[Format, str] = {
    "table": "a plain table",
    "metaphlan": "a merged MetaPhlAn profile",
    "humann": "a HUMAnN table",
    "hmp2_metabolomics": "the HMP2 metabolomics table",
    "hmp2_metadata": "the HMP2 metadata",
}
UNKNOWN_CLADES = ("UNKNOWN", "UNCLASSIFIED")
SPECIAL_ROWS = ("UNMAPPED", "READS_UNMAPPED", "UNINTEGRATED", "UNGROUPED")
ANNOTATIONS = (
    "Method",
    "Pooled QC sample CV",
    "m/z",
    "RT",
    "HMDB (*Representative ID)",
    "Metabolite",
    "Compound",
)
ASSAY_KEYS = ("External ID", "Participant ID", "site_sub_coll", "data_type")

_CLADE = re.compile(r"[kd]__\w")
_HUMANN_CORNER = re.compile(r"#\s*(Pathway|Gene Family|Reaction)\b", re.IGNORECASE)


def sniff(head: Head) -> Format:
    """The format that the header and the first rows of a file speak of.

    Metadata has ``data_type`` and two more of its four keys as columns; metabolomics has the
    columns Method, Metabolite and Compound; a MetaPhlAn profile has clades such as
    ``k__Bacteria|p__...`` as rows; a HUMAnN table has a corner such as ``# Pathway`` or a row
    such as ``UNMAPPED``. Everything else is a plain table.
    """
    columns = set(head.columns)
    if "data_type" in columns and sum(key in columns for key in ASSAY_KEYS) >= 3:
        return "hmp2_metadata"
    if {"Method", "Metabolite", "Compound"} <= columns:
        return "hmp2_metabolomics"
    if any(_CLADE.match(row) for row in head.rows) and all(map(_is_clade, head.rows)):
        return "metaphlan"
    specials = {row.partition("|")[0].partition(":")[0] for row in head.rows}
    if _HUMANN_CORNER.match(head.columns[0]) or specials & set(SPECIAL_ROWS):
        return "humann"
    return "table"


def _is_clade(row: str) -> bool:
    return row in UNKNOWN_CLADES or _CLADE.match(row) is not None
