"""Where a cohort stands: a folder of tables, a folder of ``.h5ad`` files, an ``.h5mu`` file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from immo_hpc.data.assemble import Parts
from immo_hpc.data.check import choices
from immo_hpc.data.description import CohortDescription, LayerDescription, read_description
from immo_hpc.data.formats.published import find_published, published_parts
from immo_hpc.data.parquet_table import parquet_stream, read_parquet_ids
from immo_hpc.data.sample_table import SAMPLES, read_sample_table
from immo_hpc.data.spool import spool_name, spooled
from immo_hpc.data.streams import TableStream, held
from immo_hpc.data.tables import PARQUET, Table, table_name, table_suffix
from immo_hpc.data.text_table import read_text_ids, text_stream
from immo_hpc.errors import CohortError

MUDATA = ".h5mu"
ANNDATA = ".h5ad"


@dataclass(frozen=True)
class Source:
    """One place that holds a cohort, or a part of one.

    Attributes:
        path: The folder or file.
        description: What is said about it there, under what the user says.
        names: Layers that are there.
        parts: Reads the layers of a description; gives that with the kinds that are saved there.
    """

    path: Path
    description: CohortDescription
    names: tuple[str, ...]
    parts: Callable[[CohortDescription], tuple[Parts, CohortDescription]]


def open_source(
    path: Path,
    overridden: Callable[[CohortDescription], CohortDescription],
    scratch: Path | None,
    stack: ExitStack,
) -> Source:
    """Look at what is there.

    Args:
        path: Folder or file.
        overridden: Puts what the user says over a description.
        scratch: Folder for tables on disk; None holds them in memory.
        stack: Closes files that stay open until the tables are read.

    Raises:
        CohortError: If there is no cohort, or its description cannot be used.
    """
    if not path.exists():
        message = f"{path}: expected a folder of tables or an .h5mu file, found nothing there."
        raise CohortError(message + " Check the path.")
    if path.is_file():
        return _mudata_source(path, overridden, scratch, stack)
    description = overridden(read_description(path) or CohortDescription.model_construct())
    published = find_published(path, description)
    if published is not None:
        read_plain = partial(_read_plain, scratch=scratch)
        read = partial(published_parts, published, read_plain=read_plain, scratch=scratch)
        return Source(path, description, tuple(published.layers), read)
    files = _table_files(path)
    _require_layers(description, files, path)
    read = partial(_folder_parts, path, files, scratch=scratch)
    return Source(path, description, tuple(files), read)


def all_layers(description: CohortDescription, names: Sequence[str]) -> CohortDescription:
    """The description with every table as a layer where it names none."""
    if description.layers is not None:
        return description
    plain = LayerDescription.model_construct()
    return description.model_copy(update={"layers": dict.fromkeys(names, plain)})


def open_table(path: Path, patterns: Sequence[str], scratch: Path | None = None) -> TableStream:
    """Open a Parquet, TSV or CSV file (see `immo_hpc.data.read.read_table`)."""
    if table_suffix(path) == PARQUET:
        return parquet_stream(path, patterns, scratch)
    return text_stream(path, patterns)


def _table_files(folder: Path) -> dict[str, list[Path]]:
    """Files that may be layers, by the name of the layer."""
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


def _require_layers(
    description: CohortDescription, files: Mapping[str, Sequence[Path]], folder: Path
) -> None:
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


def _folder_parts(
    folder: Path,
    files: Mapping[str, Sequence[Path]],
    description: CohortDescription,
    *,
    scratch: Path | None,
) -> tuple[Parts, CohortDescription]:
    used = description.layers or {}
    places = {name: _only(files[name]) for name in used}
    if all(file.suffix == ANNDATA for file in places.values()):
        return _anndata_parts(folder, places, description, scratch)
    if scratch is None:
        tables = [_read_plain(places[name], layer) for name, layer in used.items()]
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
        tables[name] if name in tables else _read_plain(files[name], layers[name], scratch)
        for name in files
    ]


def _read_plain(file: Path, description: LayerDescription, scratch: Path | None = None) -> Table:
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


def _mudata_source(
    file: Path,
    overridden: Callable[[CohortDescription], CohortDescription],
    scratch: Path | None,
    stack: ExitStack,
) -> Source:
    if file.suffix != MUDATA:
        message = (
            f"{file}: expected a folder of tables or an .h5mu file, found a file ending in "
            f"'{file.suffix}'. Give the folder that holds the tables."
        )
        raise CohortError(message)
    from immo_hpc.data.anndata_tables import opened_mudata
    from immo_hpc.data.mudata_io import description_of, mudata_parts

    mdata = stack.enter_context(opened_mudata(file, scratch))
    description = overridden(description_of(mdata))
    names = tuple(str(name) for name in mdata.mod)

    def parts(meant: CohortDescription) -> tuple[Parts, CohortDescription]:
        return mudata_parts(mdata, meant, file, scratch), meant

    return Source(file, description, names, parts)


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
