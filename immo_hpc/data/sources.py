"""Where a cohort stands: a folder of tables, a folder of ``.h5ad`` files, an ``.h5mu`` file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from immo_hpc.data.description import CohortDescription, LayerDescription, read_description
from immo_hpc.data.folder import folder_parts, read_plain, require_layers, table_files
from immo_hpc.data.formats.published import find_published, published_parts
from immo_hpc.data.parts import Parts
from immo_hpc.errors import CohortError

MUDATA = ".h5mu"


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
        plain = partial(read_plain, scratch=scratch)
        read = partial(published_parts, published, read_plain=plain, scratch=scratch)
        return Source(path, description, tuple(published.layers), read)
    files = table_files(path)
    require_layers(description, files, path)
    read = partial(folder_parts, path, files, scratch=scratch)
    return Source(path, description, tuple(files), read)


def all_layers(description: CohortDescription, names: Sequence[str]) -> CohortDescription:
    """The description with every table as a layer where it names none."""
    if description.layers is not None:
        return description
    plain = LayerDescription.model_construct()
    return description.model_copy(update={"layers": dict.fromkeys(names, plain)})


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
