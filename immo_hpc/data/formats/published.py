"""Reading a folder that holds tables as they are published (MetaPhlAn, HUMAnN, IBDMDB)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.formats.collections import collection_rows, with_roles
from immo_hpc.data.formats.found import (
    Source,
    described_source,
    layer_sources,
    sample_source,
    sources_in,
    speaks_of_files,
)
from immo_hpc.data.formats.humann import sample_name as humann_name
from immo_hpc.data.formats.layers import read_layer, used_layers
from immo_hpc.data.formats.metadata import Assays, read_metadata
from immo_hpc.data.formats.metaphlan import sample_name as metaphlan_name
from immo_hpc.data.formats.replicates import Joined, joined
from immo_hpc.data.formats.sniff import FORMAT_TEXTS
from immo_hpc.data.parts import Parts
from immo_hpc.data.sample_table import read_sample_table
from immo_hpc.data.tables import Table, table_name


@dataclass(frozen=True)
class PublishedFolder:
    """A folder in which at least one file is not a plain table.

    Attributes:
        folder: The folder.
        layers: Files by the name of the layer they would make.
        samples: File of the sample table.
        assays: Its content, if it is HMP2 metadata.
        notices: What was found out.
    """

    folder: Path
    layers: Mapping[str, Source]
    samples: Source | None
    assays: Assays | None
    notices: tuple[str, ...]


def find_published(folder: Path, description: CohortDescription) -> PublishedFolder | None:
    """Look for published formats; None if the folder holds plain tables alone.

    Args:
        folder: Folder of a cohort.
        description: Its ``cohort.yaml``.

    Raises:
        CohortError: If a file that ``cohort.yaml`` names is absent or of another format, or
            the metadata cannot be used.
    """
    sources = sources_in(folder)
    if all(source.format == "table" for source in sources) and not speaks_of_files(description):
        return None
    notices: list[str] = []
    samples = sample_source(folder, sources, description.samples)
    assays = None
    if samples is not None and samples.format == "hmp2_metadata" and samples.head is not None:
        assays = read_metadata(samples.head, _roles(description), notices)
    named = {
        name: described_source(folder, name, layer)
        for name, layer in (description.layers or {}).items()
        if layer.file is not None
    }
    taken = {source.path for source in named.values()} | {samples.path if samples else None}
    left = [
        source
        for source in sources
        if source.path not in taken and source.format != "hmp2_metadata"
    ]
    layers = layer_sources(left, assays) | named
    # A layer may be asked for by the name of its file as well.
    own = {table_name(source.path): source for source in left}
    asked = {name: own[name] for name in description.layers or () if name in own}
    return PublishedFolder(folder, asked | layers, samples, assays, tuple(notices))


def published_parts(
    found: PublishedFolder,
    description: CohortDescription,
    read_plain: Callable[[Path, LayerDescription], Table],
    scratch: Path | None = None,
) -> tuple[Parts, CohortDescription]:
    """Read the folder: its tables, and its description with what they tell.

    Args:
        found: What `find_published` found.
        description: Its ``cohort.yaml``, with the arguments of the user.
        read_plain: Reads a layer that is a plain table.
        scratch: Folder for the values of the tables; None holds them in memory.

    Raises:
        CohortError: As for `immo_hpc.data.read.read_cohort`.
        OutputError: If ``scratch`` cannot be written, or the disk is full.
    """
    tables, samples, notices, description = _read(found, description, read_plain, scratch)
    used = description.layers or {}
    elsewhere = partial(_elsewhere, found, used)
    where = _samples_where(found)
    return Parts(tables, samples, where, elsewhere, scratch, tuple(notices)), description


def _read(
    found: PublishedFolder,
    description: CohortDescription,
    read_plain: Callable[[Path, LayerDescription], Table],
    scratch: Path | None,
) -> tuple[list[Table], pd.DataFrame | None, list[str], CohortDescription]:
    notices = list(found.notices)
    used = used_layers(found.layers, found.folder, description)
    tables: list[Table] = []
    joins: dict[str, Joined] = {}
    for name, (source, layer) in used.items():
        if source.format == "table":
            tables.append(replace(read_plain(source.path, layer), name=name))
            continue
        if layer.format == "auto":
            text = f"recognised by its content as {FORMAT_TEXTS[source.format]}"
            notices.append(f"{name}: {source.path.name} was {text} (kind {layer.kind}).")
        table = read_layer(source, layer, name, notices, scratch)
        if found.assays is not None:
            where = str(found.assays.path)
            joins[name] = joined(table, found.assays, layer.data_type, where, notices, scratch)
            table = joins[name].table
        tables.append(table)
    layers = {name: layer for name, (_, layer) in used.items()}
    description = description.model_copy(update={"layers": layers})
    samples = None
    if found.assays is not None:
        samples = collection_rows(found.assays, tables, joins, notices)
        description = with_roles(description, samples, found.assays.path, notices)
    elif found.samples is not None:
        samples = read_sample_table(found.samples.path)
    return tables, samples, notices, description


def _samples_where(found: PublishedFolder) -> str:
    return str(found.samples.path) if found.samples else f"{found.folder} (no samples table)"


def _roles(description: CohortDescription) -> list[str]:
    named = [description.label, description.subject, description.batch, *description.covariates]
    named.append(description.time)
    return [name for name in named if name is not None]


def _elsewhere(found: PublishedFolder, used: Mapping[str, LayerDescription]) -> dict[str, set[str]]:
    """Names in the published tables that are left alone."""
    unused = {name: source for name, source in found.layers.items() if name not in used}
    return {
        name: {rename(column) for column in source.head.columns for rename in _RENAMES}
        for name, source in unused.items()
        if source.head is not None
    }


_RENAMES = (humann_name, metaphlan_name)
