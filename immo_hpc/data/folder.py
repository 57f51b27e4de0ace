"""Tables of a cohort folder: which files are layers, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from immo_hpc.data.check import choices
from immo_hpc.data.description import CohortDescription, LayerDescription
from immo_hpc.data.manifest import holds_shards
from immo_hpc.data.parquet_table import parquet_stream, read_parquet_ids
from immo_hpc.data.parts import Parts
from immo_hpc.data.sample_table import SAMPLES, read_sample_table
from immo_hpc.data.spool import spool_name, spooled
from immo_hpc.data.streams import TableStream, held
from immo_hpc.data.tables import PARQUET, Table, table_name, table_suffix
from immo_hpc.data.text_table import read_text_ids, text_stream
from immo_hpc.errors import CohortError

ANNDATA = ".h5ad"


def open_table(path: Path, patterns: Sequence[str], scratch: Path | None = None) -> TableStream:
    """Open a Parquet, TSV or CSV file (see `immo_hpc.data.read.read_table`)."""
    if table_suffix(path) == PARQUET:
        return parquet_stream(path, patterns, scratch)
    return text_stream(path, patterns)


def table_files(folder: Path) -> dict[str, list[Path]]:
    """Files that may be layers, by the name of the layer.

    Raises:
        CohortError: If there is none, or the folder holds shards.
    """
    if holds_shards(folder):
        message = (
            f"{folder}: expected a folder of tables, found prepared shards. Name the folder that "
            "they were prepared from; 'immo shards ls' and 'immo train' read shards."
        )
        raise CohortError(message)
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        is_table = table_suffix(file) is not None or file.suffix == ANNDATA
        if is_table and file.is_file() and not file.name.startswith("."):
            files.setdefault(table_name(file), []).append(file)
    files.pop(SAMPLES, None)
    if not files:
        message = (
            f"{folder}: expected at least one table (.parquet, .tsv, .csv, each also .gz or .zst, "
            "or .h5ad), found none. Put one table a layer there."
        )
        raise CohortError(message)
    return files


def _sample_file(folder: Path) -> Path | None:
    found = [
        file
        for file in sorted(folder.iterdir())
        if table_suffix(file) is not None and table_name(file) == SAMPLES
    ]
    return _only(found) if found else None


def _only(files: Sequence[Path]) -> Path:
    if len(files) > 1:
        message = (
            f"{files[0]}: expected one file of this name, found also "
            f"{', '.join(file.name for file in files[1:])}. Remove all but one."
        )
        raise CohortError(message)
    return files[0]


def require_layers(
    description: CohortDescription, files: Mapping[str, Sequence[Path]], folder: Path
) -> None:
    """Refuse a description that names layers which are not there, or none.

    Raises:
        CohortError: Naming the first of them, and those there are.
    """
    if description.layers is None:
        return
    for name in description.layers:
        if name not in files:
            message = (
                f"{folder}: expected a table {name}.parquet, .tsv or .csv (also .gz or .zst) for "
                f"layer '{name}', found none; {choices(name, list(files))}. Correct the layers "
                "named in cohort.yaml or with --layers."
            )
            raise CohortError(message)
    if not description.layers:
        message = (
            f"{folder}: expected at least one layer to use, found an empty list of layers. "
            f"There are: {', '.join(files)}."
        )
        raise CohortError(message)


def folder_parts(
    folder: Path,
    files: Mapping[str, Sequence[Path]],
    description: CohortDescription,
    *,
    scratch: Path | None,
) -> tuple[Parts, CohortDescription]:
    """Read the layers of a description from a folder of plain tables.

    Args:
        folder: The folder.
        files: Its tables (`table_files`).
        description: What is said about it.
        scratch: Folder for tables on disk; None holds them in memory.

    Returns:
        The parts, and the description with the kinds that are saved in the files.

    Raises:
        CohortError: If a file cannot be read, or two would make one layer.
        OutputError: If ``scratch`` cannot be written.
    """
    used = description.layers or {}
    places = {name: _only(files[name]) for name in used}
    if all(file.suffix == ANNDATA for file in places.values()):
        return _anndata_parts(folder, places, description, scratch)
    if scratch is None:
        tables = [read_plain(places[name], layer) for name, layer in used.items()]
    else:
        tables = _spooled(places, used, scratch)
    samples = _sample_file(folder)
    parts = Parts(
        tables,
        None if samples is None else read_sample_table(samples),
        str(samples) if samples else f"{folder} (no samples table)",
        partial(_elsewhere, files, used),
        scratch,
    )
    return parts, description


def _spooled(
    files: Mapping[str, Path], layers: Mapping[str, LayerDescription], scratch: Path
) -> list[Table]:
    plain = {name: file for name, file in files.items() if file.suffix != ANNDATA}
    names = {name: spool_name(file, name, layers[name].patterns) for name, file in plain.items()}
    tables = spooled(
        scratch, names, lambda name: open_table(plain[name], layers[name].patterns, scratch)
    )
    return [
        tables[name] if name in tables else read_plain(files[name], layers[name], scratch)
        for name in files
    ]


def read_plain(file: Path, description: LayerDescription, scratch: Path | None = None) -> Table:
    """Read one plain table, into the folder ``scratch`` if it is given.

    Raises:
        CohortError: If it cannot be read.
        OutputError: If ``scratch`` cannot be written.
    """
    if file.suffix == ANNDATA:
        from immo_hpc.data.anndata_tables import opened_anndata, tables_from_anndata

        name = table_name(file)
        with opened_anndata(file, scratch) as modality:
            return tables_from_anndata({name: modality}, {name: file}, scratch)[0]
    if scratch is not None:
        name = table_name(file)
        return _spooled({name: file}, {name: description}, scratch)[0]
    return held(open_table(file, description.patterns))


def _elsewhere(
    files: Mapping[str, Sequence[Path]], used: Mapping[str, LayerDescription]
) -> dict[str, set[str]]:
    """Names in the tables that are left alone; one that cannot be read holds none."""
    names: dict[str, set[str]] = {}
    for name, places in files.items():
        for file in places if name not in used else ():
            if file.suffix == ANNDATA:
                continue
            try:
                is_parquet = table_suffix(file) == PARQUET
                names[name] = read_parquet_ids(file) if is_parquet else read_text_ids(file)
            except CohortError:
                names[name] = set()
    return names


def _anndata_parts(
    folder: Path,
    files: Mapping[str, Path],
    description: CohortDescription,
    scratch: Path | None,
) -> tuple[Parts, CohortDescription]:
    from immo_hpc.data.anndata_tables import opened_anndata
    from immo_hpc.data.mudata_io import anndata_parts, with_saved_kinds

    with ExitStack() as stack:
        modalities = {
            name: stack.enter_context(opened_anndata(file, scratch)) for name, file in files.items()
        }
        file = _sample_file(folder)
        samples = None if file is None else read_sample_table(file)
        parts = anndata_parts(modalities, samples, str(file or folder), files, scratch)
        return parts, with_saved_kinds(description, modalities)
