"""The sample table of a cohort from HMP2 metadata, and the roles of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from immo_hpc.data.check import examples
from immo_hpc.data.description import CohortDescription
from immo_hpc.data.formats.metadata import LABEL, SITE, WEEK, Assays, sample_rows
from immo_hpc.data.formats.replicates import Joined
from immo_hpc.data.tables import Table


def collection_rows(
    assays: Assays, tables: Sequence[Table], joins: Mapping[str, Joined], notices: list[str]
) -> pd.DataFrame:
    """One row a collection that stands in a table.

    The metadata lists every assay of the study, of many data types; only what was measured
    in the tables makes a sample.

    Args:
        assays: The metadata.
        tables: All layers.
        joins: Layers whose rows were looked up in the metadata, by name.
        notices: Gets the collections without a table.

    Returns:
        Index ``sample_id``; columns of `immo_hpc.data.formats.metadata.sample_rows`, then
        ``ext_id_<layer>``, the External ID behind each layer.
    """
    measured: set[str] = set()
    for table in tables:
        measured |= set(table.sample_ids)
        # A plain table may hold features as rows.
        measured |= set() if table.name in joins else set(table.features)
    samples = sample_rows(assays, measured, notices)
    for name, join in joins.items():
        external = [join.external_ids.get(str(sample)) for sample in samples.index]
        samples[f"ext_id_{name}"] = pd.Series(external, index=samples.index, dtype=object)
    _tell_unmeasured(assays, measured, {join.data_type for join in joins.values()}, notices)
    return samples


def with_roles(
    description: CohortDescription, samples: pd.DataFrame, path: Path, notices: list[str]
) -> CohortDescription:
    """The description with the metadata's label, site and weeks where it names none."""
    changes = {}
    for role, column in (("label", LABEL), ("batch", SITE), ("time", WEEK)):
        is_there = column in samples.columns and samples[column].notna().any()
        if getattr(description, role) is None and is_there:
            changes[role] = column
    if "label" in changes:
        notices.append(
            f"{path.name}: '{LABEL}' is taken as the label (1: diagnosis CD or UC, 0: nonIBD); "
            "name another with --label."
        )
    if "batch" in changes:
        notices.append(f"{path.name}: '{SITE}' (site_name) is taken as the batch of each sample.")
    if "time" in changes:
        changes["time_unit"] = description.time_unit or "weeks"
        notices.append(f"{path.name}: '{WEEK}' is taken as the time of each sample, in weeks.")
    return description.model_copy(update=changes)


def _tell_unmeasured(
    assays: Assays, measured: set[str], data_types: set[str | None], notices: list[str]
) -> None:
    known = [name for name in data_types if name is not None]
    expected = {sample for name in known for sample in assays.collections(name).values()}
    lost = sorted(expected - measured)
    if lost:
        notices.append(
            f"{assays.path.name}: {len(lost)} collections with an assay of "
            f"{' or '.join(sorted(known))} stand in no table and were left out ({examples(lost)})."
        )
