"""Which files of a folder are which layers, by content and by what ``cohort.yaml`` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from immo_hpc.data.description import (
    CohortDescription,
    LayerDescription,
    SamplesDescription,
)
from immo_hpc.data.formats.head import Head, read_head
from immo_hpc.data.formats.humann import is_coverage
from immo_hpc.data.formats.humann import sample_name as humann_name
from immo_hpc.data.formats.metadata import Assays
from immo_hpc.data.formats.replicates import data_type_of
from immo_hpc.data.formats.sniff import FORMAT_TEXTS, Format, sniff
from immo_hpc.data.sample_table import SAMPLES
from immo_hpc.data.tables import table_name, table_suffix
from immo_hpc.errors import CohortError

_TEXTS = (".tsv", ".csv", ".txt")
_PACKED = (".gz", ".zst")
_ANNDATA = ".h5ad"
# Layers named by content stand in this order, before all others.
_FIRST = ("mg", "mg_pathways", "mt", "mb")


@dataclass(frozen=True)
class Source:
    """A file and what it is.

    Attributes:
        path: The file.
        format: How it is laid out.
        head: Its first lines; None for a plain table.
    """

    path: Path
    format: Format
    head: Head | None = None


def speaks_of_files(description: CohortDescription) -> bool:
    """True if ``cohort.yaml`` names a file or format, of a layer or of the samples."""
    layers = (description.layers or {}).values()
    return description.samples is not None or any(
        layer.file is not None or layer.format != "auto" for layer in layers
    )


def sources_in(folder: Path) -> list[Source]:
    """Every file that may be a table, with the format its content speaks of."""
    sources = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        is_plain = table_suffix(path) is not None or path.suffix == _ANNDATA
        source = _sniffed(path)
        if is_plain or source.format != "table":
            sources.append(source)
    return sources


def sample_source(
    folder: Path, sources: Sequence[Source], description: SamplesDescription | None
) -> Source | None:
    """The file of the sample table: as described, else ``samples.*``, else HMP2 metadata.

    Raises:
        CohortError: If the description fits no file, or several fit.
    """
    what = "samples"
    if description is not None and description.file is not None:
        return as_format(resolve(folder, description.file, what), description.format, what)
    wanted = "auto" if description is None else description.format
    named = [source for source in sources if table_name(source.path) == SAMPLES]
    metadata = [source for source in sources if source.format == "hmp2_metadata"]
    fitting = metadata if wanted == "hmp2_metadata" else named or metadata
    if len(fitting) > 1:
        listed = ", ".join(source.path.name for source in fitting)
        message = (
            f"{folder}: expected one table of samples, found {listed}. Name one under 'samples:' "
            "in cohort.yaml, or remove the others."
        )
        raise CohortError(message)
    if not fitting:
        if wanted == "auto":
            return None
        message = (
            f"{folder}: expected {FORMAT_TEXTS[wanted]} for the samples (cohort.yaml), found none. "
            "Name the file with 'file:' under 'samples:'."
        )
        raise CohortError(message)
    return as_format(fitting[0].path, wanted, what)


def layer_sources(sources: Sequence[Source], assays: Assays | None) -> dict[str, Source]:
    """Layers by name: after what the files hold, else after the files.

    MetaPhlAn profiles are ``mg``, the HMP2 metabolomics ``mb``; a HUMAnN table of pathways is
    ``mt`` or ``mg_pathways`` if the metadata knows its assays as RNA or DNA. Files that would
    share such a name, and all others, are named as the file is called.

    Raises:
        CohortError: If two files have one name.
    """
    names = [_name_by_content(source, assays) or table_name(source.path) for source in sources]
    times = Counter(names)
    layers: dict[str, Source] = {}
    for source, by_content in zip(sources, names, strict=True):
        own = table_name(source.path)
        name = by_content if times[by_content] == 1 else own
        if name in layers:
            message = (
                f"{source.path}: expected one file for the layer '{name}', found also "
                f"{layers[name].path.name}. Remove one of them, or name the file of each layer in "
                "cohort.yaml."
            )
            raise CohortError(message)
        layers[name] = source
    first = {name: layers[name] for name in _FIRST if name in layers}
    return first | layers


def described_source(folder: Path, name: str, layer: LayerDescription) -> Source:
    """The file that ``cohort.yaml`` names for a layer.

    Raises:
        CohortError: If there is none or several, or its content is of another format.
    """
    what = f"layer '{name}'"
    assert layer.file is not None
    return as_format(resolve(folder, layer.file, what), layer.format, what)


def resolve(folder: Path, pattern: str, what: str) -> Path:
    """The one file inside ``folder`` that a name or pattern fits.

    Raises:
        CohortError: If none or several fit, or the pattern leads out of the folder.
    """
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        message = (
            f"{folder}: expected a file inside the folder for {what} (cohort.yaml), found "
            f"'{pattern}'. Put the file or a link to it into the folder."
        )
        raise CohortError(message)
    if (folder / pattern).is_file():
        return folder / pattern
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(found) == 1:
        return found[0]
    listed = ", ".join(str(path.relative_to(folder)) for path in found[:5]) or "none"
    message = (
        f"{folder}: expected one file that fits '{pattern}' for {what} (cohort.yaml), found "
        f"{listed}. Correct 'file:'."
    )
    raise CohortError(message)


def as_format(path: Path, wanted: Format | Literal["auto"], what: str) -> Source:
    """The file as the format that is wanted for it.

    Raises:
        CohortError: If its content speaks of another one, or no reader knows its suffix.
    """
    source = _sniffed(path)
    if wanted == "table":
        source = Source(path, "table")
    elif wanted != "auto" and source.format == "table" and _is_text(path):
        # The reader of that format says what it misses.
        source = Source(path, wanted, read_head(path))
    elif wanted != "auto" and wanted != source.format:
        message = (
            f"{path}: expected {FORMAT_TEXTS[wanted]} ('format: {wanted}' of {what} in "
            f"cohort.yaml), found {FORMAT_TEXTS[source.format]}. Correct 'format:' or leave it out."
        )
        raise CohortError(message)
    is_known = table_suffix(path) is not None or path.suffix == _ANNDATA
    if source.format == "table" and not is_known:
        message = (
            f"{path}: expected a table ending in .parquet, .tsv, .csv or .h5ad for {what}, or one "
            "of the published formats, found neither. Rename the file."
        )
        raise CohortError(message)
    return source


def _sniffed(path: Path) -> Source:
    """The file with the format of its content; what cannot be read counts as a plain table."""
    if not _is_text(path):
        return Source(path, "table")
    try:
        head = read_head(path)
    except CohortError:
        return Source(path, "table")
    found = sniff(head)
    return Source(path, found, None if found == "table" else head)


def _is_text(path: Path) -> bool:
    plain = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    return plain.suffix.lower() in _TEXTS


def _name_by_content(source: Source, assays: Assays | None) -> str | None:
    if source.format == "metaphlan":
        return "mg"
    if source.format == "hmp2_metabolomics":
        return "mb"
    if source.format != "humann" or source.head is None or assays is None:
        return None
    corner = source.head.columns[0].lower()
    if "gene family" in corner or is_coverage(source.head):
        return None
    names = [humann_name(column) for column in source.head.columns[1:]]
    by_type = {"metatranscriptomics": "mt", "metagenomics": "mg_pathways"}
    return by_type.get(data_type_of(names, assays) or "")
