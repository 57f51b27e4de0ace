"""Reading a cohort from a folder of tables, an ``.h5mu`` file or a folder of ``.h5ad`` files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from immo_hpc.data.assemble import assemble
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.folder import open_table
from immo_hpc.data.several import read_united
from immo_hpc.data.sources import all_layers, open_source
from immo_hpc.data.streams import held
from immo_hpc.data.tables import Table
from immo_hpc.data.times import TimeUnit
from immo_hpc.errors import UsageError


def read_cohort(
    path: Path,
    *,
    layers: Sequence[str] | None = None,
    label: str | None = None,
    subject: str | None = None,
    positive: str | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    scratch: Path | None = None,
) -> Cohort:
    """Read a cohort; what was guessed, left out or put right stands in its notices.

    Args:
        path: Folder of tables (Parquet, TSV, CSV, each also ``.gz`` or ``.zst``) with an
            optional ``samples`` table and ``cohort.yaml``, or of tables as they are published
            (`immo_hpc.data.formats`); a folder of ``.h5ad`` files, one a layer; or one
            ``.h5mu`` file.
        layers: Layers to use, over those of ``cohort.yaml``; all tables if neither says.
        label: Column of the sample table to classify, over that of ``cohort.yaml``.
        subject: Column naming the person, over that of ``cohort.yaml``.
        positive: Label value that counts as 1, over that of ``cohort.yaml``.
        time: Column saying when a sample was taken, over that of ``cohort.yaml``.
        time_unit: What its numbers count, over that of ``cohort.yaml``; else days.
        scratch: Folder for cohorts larger than memory: tables are read block by block into
            files there, and the layers' values are read-only ``np.memmap`` of them. Files that
            are there already are used; processes that share the folder share the work.

    Returns:
        The cohort of all samples that have at least one layer.

    Raises:
        CohortError: Naming file, place, what was found, what was expected and what to do.
        OutputError: If ``scratch`` cannot be written, or the disk is full.
    """
    return read_cohorts(
        [path],
        layers=layers,
        label=label,
        subject=subject,
        positive=positive,
        time=time,
        time_unit=time_unit,
        scratch=scratch,
    )


def read_cohorts(
    paths: Sequence[Path],
    *,
    layers: Sequence[str] | None = None,
    label: str | None = None,
    subject: str | None = None,
    positive: str | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    scratch: Path | None = None,
) -> Cohort:
    """Read several places that together hold one cohort, such as sites or monthly batches.

    Layers are joined by name and features by name, in the order in which they first appear; a
    part that lacks a feature has missing values there. Sample tables are put below each other.
    What one part's ``cohort.yaml`` says about layers and roles counts for all.

    Args:
        paths: Places as for `read_cohort`; one alone is read as there.
        layers: As for `read_cohort`; a part may lack some of them.
        label: As for `read_cohort`.
        subject: As for `read_cohort`.
        positive: As for `read_cohort`.
        time: As for `read_cohort`.
        time_unit: As for `read_cohort`.
        scratch: As for `read_cohort`.

    Returns:
        The cohort of all samples of all parts that have at least one layer.

    Raises:
        CohortError: As for `read_cohort`; also for a sample that stands in two parts, and for
            parts that say different things about a layer or role.
        OutputError: If ``scratch`` cannot be written, or the disk is full.
        UsageError: If there is no path.
    """
    if not paths:
        message = "cohorts: expected at least one folder or file, found none. Name one."
        raise UsageError(message)
    scratch = None if scratch is None else Path(scratch)
    spoken = partial(
        _overridden,
        label=label,
        subject=subject,
        positive=positive,
        time=time,
        time_unit=time_unit,
    )
    with ExitStack() as stack:
        if len(paths) > 1:
            return read_united([Path(path) for path in paths], spoken, layers, scratch, stack)
        source = open_source(Path(paths[0]), partial(spoken, layers=layers), scratch, stack)
        return assemble(*source.parts(all_layers(source.description, source.names)))


def read_table(path: Path, patterns: Sequence[str] = ()) -> Table:
    """Read a Parquet, TSV or CSV file, each optionally ``.gz`` or ``.zst``.

    Args:
        path: The file.
        patterns: Only columns that fit one of these are read; all if none fits, because the
            table may hold features as rows.

    Raises:
        CohortError: If the file is empty, damaged or ragged, or holds text where a number is
            expected.
    """
    return held(open_table(path, patterns))


def _overridden(
    description: CohortDescription,
    *,
    label: str | None,
    subject: str | None,
    positive: str | None,
    time: str | None,
    time_unit: TimeUnit | None,
    layers: Sequence[str] | None = None,
) -> CohortDescription:
    changes: dict[str, object] = {}
    if layers is not None:
        known = description.layers or {}
        plain = LayerDescription.model_construct()
        changes["layers"] = {name: known.get(name, plain) for name in layers}
    if label is not None and label != description.label:
        # A positive class belongs to the label it was named for.
        changes |= {"label": label, "positive": None}
    if subject is not None:
        changes["subject"] = subject
    if positive is not None:
        changes["positive"] = str(positive)
    if time is not None and time != description.time:
        # A unit belongs to the column it was named for.
        changes |= {"time": time, "time_unit": None}
    if time_unit is not None:
        changes["time_unit"] = time_unit
    return description.model_copy(update=changes)
