"""From assays to samples: which column of a table belongs to which stool collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from immo_hpc.data.check import choices, examples, require_unique
from immo_hpc.data.formats.metadata import Assays
from immo_hpc.data.matrices import gather
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError

# Of several assays of one collection the first in this order is kept.
_SUFFIXES = ("", "_TR", "_P")


@dataclass(frozen=True)
class Joined:
    """A table whose rows are collections.

    Attributes:
        table: One row a collection; rows of assays that the metadata does not know keep
            their names.
        data_type: Data type that the assays were looked up in; None for all.
        external_ids: External ID that was kept, by collection.
    """

    table: Table
    data_type: str | None
    external_ids: dict[str, str]


def data_type_of(names: Sequence[str], assays: Assays) -> str | None:
    """The data type whose assays the names fit best, None if they fit none.

    Best is the largest share that both have in common: DNA and RNA of one collection carry
    one External ID, but there are twice as many assays of DNA.
    """
    found = set(names)
    shares = {}
    for data_type in assays.data_types:
        known = set(assays.collections(data_type))
        shares[data_type] = len(found & known) / len(found | known)
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best is not None and shares[best] > 0 else None


def joined(
    table: Table,
    assays: Assays,
    data_type: str | None,
    where: str,
    notices: list[str],
    scratch: Path | None = None,
) -> Joined:
    """Name the rows by collection, and keep one assay of each.

    The plain External ID is kept, else the technical replicate (``_TR``), else the pilot
    (``_P``), else the first by name.

    Args:
        table: Rows named by External ID.
        assays: The metadata.
        data_type: Data type to look the assays up in; found by `data_type_of` if None.
        where: Metadata file, for messages.
        notices: Gets the replicates that were left out.
        scratch: Folder for the outcome if the table is on disk.

    Raises:
        CohortError: If an External ID stands twice, or the metadata has no such data type.
    """
    if data_type is not None and data_type not in assays.data_types:
        message = (
            f"{where}: expected assays of data_type '{data_type}' (layer '{table.name}' in "
            f"cohort.yaml), found none; {choices(data_type, assays.data_types)}."
        )
        raise CohortError(message)
    remedy = "Remove one of the columns."
    require_unique(table.sample_ids, table.where, "External ID", remedy)
    chosen = data_type or data_type_of(table.sample_ids, assays)
    collections = assays.collections(chosen)
    kept: dict[str, str] = {}
    for name in sorted(table.sample_ids, key=_order):
        kept.setdefault(collections.get(name, name), name)
    wanted = set(kept.values())
    places = [place for place, name in enumerate(table.sample_ids) if name in wanted]
    if len(places) < len(table.sample_ids):
        lost = [name for name in table.sample_ids if name not in wanted]
        notices.append(
            f"{table.name}: {len(lost)} replicates were left out ({examples(lost)}); of several "
            "assays of one collection the plain External ID is kept, else _TR, else _P."
        )
    ids = [collections.get(table.sample_ids[place], table.sample_ids[place]) for place in places]
    values = table.values
    if len(places) < len(values):
        values = gather(values, np.array(places, dtype=np.int64), scratch=scratch)
    external = {name: found for name, found in kept.items() if found in collections}
    return Joined(replace(table, sample_ids=tuple(ids), values=values), chosen, external)


def _order(name: str) -> tuple[int, str]:
    suffix = "_" + name.rpartition("_")[2] if "_" in name else ""
    return (_SUFFIXES.index(suffix) if suffix in _SUFFIXES else len(_SUFFIXES), name)
