"""Several places that together are one cohort: layers, features and samples joined by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from immo_hpc.data.assemble import assemble
from immo_hpc.data.check import choices, require_unique
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.matrices import gather
from immo_hpc.data.parts import (
    Parts,
    checked_tables,
    names_with_values,
    refuse_strangers,
    tell_strangers,
)
from immo_hpc.data.sources import Source, open_source
from immo_hpc.data.tables import Table
from immo_hpc.data.unite import united_samples, united_table
from immo_hpc.errors import CohortError


def read_united(
    paths: Sequence[Path],
    overridden: Callable[[CohortDescription], CohortDescription],
    layers: Sequence[str] | None,
    scratch: Path | None,
    stack: ExitStack,
) -> Cohort:
    """Read several places as one cohort (see `immo_hpc.data.read.read_cohorts`).

    Args:
        paths: Folders or files.
        overridden: Puts what the user says over a description.
        layers: Layers the user names.
        scratch: Folder for tables on disk; None holds them in memory.
        stack: Closes files that stay open until the tables are read.

    Raises:
        CohortError: If a part cannot be read, or parts contradict each other.
    """
    require_unique([str(path) for path in paths], "cohorts", "path", "Name each part once.")
    sources = [open_source(path, overridden, scratch, stack) for path in paths]
    common = joined_descriptions(sources)
    wanted = _wanted(sources, common, layers)
    notices: list[str] = []
    found = [_part(source, common, wanted, notices) for source in sources]
    stated = [replace(s, description=meant) for s, (_, meant) in zip(sources, found, strict=True)]
    common = joined_descriptions(stated)
    parts = [part for part, _ in found]
    _require_own_samples(parts)
    tables = [
        united_table([t for part in parts for t in part.tables if t.name == name], scratch)
        for name in wanted
    ]
    whole = Parts(
        tables,
        united_samples([part.samples for part in parts if part.samples is not None]),
        ", ".join(part.samples_where for part in parts),
        lambda: _elsewhere(parts),
        scratch,
        tuple(notices),
        may_turn=False,
    )
    layers_meant = {name: (common.layers or {})[name] for name in wanted}
    return assemble(whole, common.model_copy(update={"layers": layers_meant}))


def joined_descriptions(sources: Sequence[Source]) -> CohortDescription:
    """What all parts say together; what one alone says counts for all.

    Raises:
        CohortError: If two say different things.
    """
    said: dict[str, Any] = {}
    for role in ("label", "positive", "subject", "batch", "covariates", "time", "time_unit"):
        said[role] = _agreed(sources, role, _of_role(role))
    said["covariates"] = said["covariates"] or ()
    descriptions = [source.description for source in sources]
    said["unlabelled"] = tuple(dict.fromkeys(v for d in descriptions for v in d.unlabelled))
    said["unmeasured"] = "drop" if any(d.unmeasured == "drop" for d in descriptions) else "error"
    names = dict.fromkeys(name for d in descriptions for name in d.layers or {})
    layers = {}
    for name in names:
        stated = {
            key: _agreed(sources, f"{key} of layer '{name}'", _of_layer(name, key))
            for key in ("kind", "columns")
        }
        layers[name] = LayerDescription.model_construct().model_copy(update=stated)
    said["layers"] = layers or None
    return CohortDescription.model_construct().model_copy(update=said)


def _of_role(role: str) -> Callable[[CohortDescription], Any]:
    return lambda description: getattr(description, role) or None


def _of_layer(name: str, key: str) -> Callable[[CohortDescription], Any]:
    return lambda description: getattr((description.layers or {}).get(name), key, None)


def _agreed(sources: Sequence[Source], what: str, said: Callable[[CohortDescription], Any]) -> Any:
    stated = [(source.path, said(source.description)) for source in sources]
    stated = [(path, value) for path, value in stated if value is not None]
    for path, value in stated[1:]:
        first, expected = stated[0]
        if value != expected:
            message = (
                f"{path}: expected the same {what} as in {first} ({_shown(expected)}), found "
                f"{_shown(value)}. Parts of one cohort must agree: correct cohort.yaml in one of "
                "them, or leave it out there."
            )
            raise CohortError(message)
    return stated[0][1] if stated else None


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else ", ".join(f"'{item}'" for item in value)


def _wanted(
    sources: Sequence[Source], common: CohortDescription, layers: Sequence[str] | None
) -> list[str]:
    there = list(dict.fromkeys(name for source in sources for name in source.names))
    wanted = list(layers) if layers is not None else list(common.layers or there)
    for name in wanted:
        if name not in there:
            message = (
                f"{sources[0].path} and {len(sources) - 1} further parts: expected a table for "
                f"layer '{name}', found none; {choices(name, there)}. Correct the layers named in "
                "cohort.yaml or with --layers."
            )
            raise CohortError(message)
    return wanted


def _part(
    source: Source, common: CohortDescription, wanted: Sequence[str], notices: list[str]
) -> tuple[Parts, CohortDescription]:
    """One part: tables with samples as rows, of its own samples alone, and what it states."""
    own = source.description.layers or {}
    plain = LayerDescription.model_construct()
    layers = {}
    for name in (name for name in wanted if name in source.names):
        meant = (common.layers or {}).get(name, plain)
        stated = {"kind": meant.kind, "columns": meant.columns}
        layers[name] = own.get(name, plain).model_copy(update=stated)
    if not layers:
        message = (
            f"{source.path}: expected at least one of the layers {', '.join(wanted)}, found "
            f"{', '.join(source.names)}. Leave this part out, or correct the layers."
        )
        raise CohortError(message)
    parts, description = source.parts(source.description.model_copy(update={"layers": layers}))
    notices += parts.notices
    tables = checked_tables(parts, description, notices)
    if parts.samples is None:
        names = dict.fromkeys(name for table in tables for name in names_with_values(table))
        samples = pd.DataFrame(index=pd.Index(list(names), dtype=object))
    else:
        samples = parts.samples
        ids = [str(name) for name in samples.index]
        where = parts.samples_where
        require_unique(ids, where, "sample_id", "Keep one row a sample, or give visits own names.")
        columns = [str(name) for name in samples.columns]
        require_unique(columns, where, "column", "Rename or remove one of them.")
    tables = [_of_own_samples(table, samples, parts, notices) for table in tables]
    return replace(parts, tables=tables, samples=samples), description


def _of_own_samples(table: Table, samples: pd.DataFrame, parts: Parts, notices: list[str]) -> Table:
    ids = pd.Index([str(name) for name in samples.index], dtype=object)
    known = np.asarray(pd.Index(table.sample_ids, dtype=object).isin(ids))
    if known.all():
        return table
    if not known.any() and len(ids):
        refuse_strangers(table, ids, parts.samples_where)
    tell_strangers(notices, table, known, parts.samples_where)
    rows = np.flatnonzero(known)
    values = gather(table.values, rows, scratch=parts.scratch)
    return replace(table, sample_ids=tuple(table.sample_ids[row] for row in rows), values=values)


def _require_own_samples(parts: Sequence[Parts]) -> None:
    owner: dict[str, str] = {}
    for part in parts:
        assert part.samples is not None
        for name in map(str, part.samples.index):
            if name in owner:
                message = (
                    f"{owner[name]} and {part.samples_where}: expected each sample in one part of "
                    f"the cohort, found '{name}' in both. Give the samples of each part their own "
                    "names, or leave one of them out."
                )
                raise CohortError(message)
        owner |= dict.fromkeys(map(str, part.samples.index), part.samples_where)


def _elsewhere(parts: Sequence[Parts]) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for part in parts:
        for table, held in part.elsewhere().items():
            names.setdefault(table, set()).update(held)
    return names
