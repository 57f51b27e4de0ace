"""Reading a cohort from a folder of tables, an ``.h5mu`` file or a folder of ``.h5ad`` files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from immo_hpc.data.assemble import Parts, assemble
from immo_hpc.data.check import choices
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.description import CohortDescription, LayerDescription, read_description
from immo_hpc.data.formats.published import find_published, read_published
from immo_hpc.data.parquet_table import read_parquet_ids, read_parquet_table
from immo_hpc.data.sample_table import SAMPLES, read_sample_table
from immo_hpc.data.tables import PARQUET, Table, table_name, table_suffix
from immo_hpc.data.text_table import read_text_ids, read_text_table
from immo_hpc.errors import CohortError

MUDATA = ".h5mu"
ANNDATA = ".h5ad"


def read_cohort(
    path: Path,
    *,
    layers: Sequence[str] | None = None,
    label: str | None = None,
    subject: str | None = None,
    positive: str | None = None,
) -> Cohort:
    """Read a cohort; what was guessed, left out or put right stands in its notices.

    Args:
        path: Folder of tables (Parquet, TSV, CSV, each also ``.gz``) with an optional
            ``samples`` table and ``cohort.yaml``, or of tables as they are published
            (`immo_hpc.data.formats`); a folder of ``.h5ad`` files, one a layer; or one
            ``.h5mu`` file.
        layers: Layers to use, over those of ``cohort.yaml``; all tables if neither says.
        label: Column of the sample table to classify, over that of ``cohort.yaml``.
        subject: Column naming the person, over that of ``cohort.yaml``.
        positive: Label value that counts as 1, over that of ``cohort.yaml``.

    Returns:
        The cohort of all samples that have at least one layer.

    Raises:
        CohortError: Naming file, place, what was found, what was expected and what to do.
    """
    path = Path(path)
    if not path.exists():
        message = f"{path}: expected a folder of tables or an .h5mu file, found nothing there."
        raise CohortError(message + " Check the path.")
    if path.is_file():
        return _read_mudata(path, layers, label, subject, positive)
    described = read_description(path) or CohortDescription.model_construct()
    description = _overridden(described, layers, label, subject, positive)
    published = find_published(path, description)
    if published is not None:
        return read_published(published, description, _read_layer)
    files = _table_files(path)
    description = _with_layers(description, files, path)
    used = description.layers or {}
    if all(_only(files[name]).suffix == ANNDATA for name in used):
        return _read_anndata(path, files, description)
    tables = [_read_layer(_only(files[name]), layer) for name, layer in used.items()]
    samples = _sample_file(path)
    parts = Parts(
        tables,
        None if samples is None else read_sample_table(samples),
        str(samples) if samples else f"{path} (no samples table)",
        lambda: _elsewhere(files, used),
    )
    return assemble(parts, description)


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
            f"{folder}: expected at least one table (.parquet, .tsv, .csv, each also .gz, or "
            ".h5ad), found none. Put one table a layer there."
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


def _overridden(
    description: CohortDescription,
    layers: Sequence[str] | None,
    label: str | None,
    subject: str | None,
    positive: str | None,
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
    return description.model_copy(update=changes)


def _with_layers(
    description: CohortDescription, files: Mapping[str, Sequence[Path]], folder: Path
) -> CohortDescription:
    """The description with every table as a layer where it names none."""
    if description.layers is None:
        plain = LayerDescription.model_construct()
        return description.model_copy(update={"layers": dict.fromkeys(files, plain)})
    for name in description.layers:
        if name not in files:
            message = (
                f"{folder}: expected a table {name}.parquet, .tsv or .csv (also .gz) for layer "
                f"'{name}', found none; {choices(name, list(files))}. Correct the layers named "
                "in cohort.yaml or with --layers."
            )
            raise CohortError(message)
    if not description.layers:
        message = (
            f"{folder}: expected at least one layer to use, found an empty list of layers. "
            f"There are: {', '.join(files)}."
        )
        raise CohortError(message)
    return description


def read_table(path: Path, patterns: Sequence[str] = ()) -> Table:
    """Read a Parquet, TSV or CSV file, each optionally ``.gz``.

    Args:
        path: The file.
        patterns: Only columns that fit one of these are read; all if none fits, because the
            table may hold features as rows.

    Raises:
        CohortError: If the file is empty, damaged or ragged, or holds text where a number is
            expected.
    """
    if table_suffix(path) == PARQUET:
        return read_parquet_table(path, patterns)
    return read_text_table(path, patterns)


def _read_layer(file: Path, description: LayerDescription) -> Table:
    if file.suffix != ANNDATA:
        return read_table(file, description.patterns)
    from immo_hpc.data.mudata_io import read_anndata, table_from_anndata

    return table_from_anndata(table_name(file), read_anndata(file), file)


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


def _read_mudata(
    file: Path,
    layers: Sequence[str] | None,
    label: str | None,
    subject: str | None,
    positive: str | None,
) -> Cohort:
    if file.suffix != MUDATA:
        message = (
            f"{file}: expected a folder of tables or an .h5mu file, found a file ending in "
            f"'{file.suffix}'. Give the folder that holds the tables."
        )
        raise CohortError(message)
    from immo_hpc.data.mudata_io import description_of, mudata_parts, read_mudata

    mdata = read_mudata(file)
    description = _overridden(description_of(mdata), layers, label, subject, positive)
    return assemble(mudata_parts(mdata, description, file), description, may_turn=False)


def _read_anndata(
    folder: Path, files: Mapping[str, Sequence[Path]], description: CohortDescription
) -> Cohort:
    from immo_hpc.data.mudata_io import anndata_parts, read_anndata, with_saved_kinds

    used = description.layers or {}
    modalities = {name: read_anndata(_only(files[name])) for name in used}
    description = with_saved_kinds(description, modalities)
    samples = _sample_file(folder)
    table = None if samples is None else read_sample_table(samples)
    parts = anndata_parts(modalities, table, str(samples or folder))
    return assemble(parts, description, may_turn=False)
