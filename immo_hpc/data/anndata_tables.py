"""Files of AnnData and MuData as tables (optional extra ``immo-hpc[mudata]``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from immo_hpc.data.anndata_disk import disk_anndata, disk_blocks, disk_mudata, shape_and_type
from immo_hpc.data.spool import spool_name, spooled
from immo_hpc.data.streams import TableStream, guarded
from immo_hpc.data.tables import Table, damaged_message
from immo_hpc.errors import CohortError, ImmoError, UsageError


@contextmanager
def opened_mudata(file: Path, scratch: Path | None = None) -> Iterator[Any]:
    """An ``.h5mu`` file: in memory, or with its matrices on disk if there is ``scratch``.

    Raises:
        CohortError: If it is damaged.
        UsageError: If the optional packages are not installed.
    """
    _, mudata = packages()
    with ExitStack() as stack:
        with _damaged(file), quiet(mudata):
            if scratch is None:
                mdata = mudata.read_h5mu(file)
            else:
                mdata = stack.enter_context(disk_mudata(file))
        yield mdata


@contextmanager
def opened_anndata(file: Path, scratch: Path | None = None) -> Iterator[Any]:
    """An ``.h5ad`` file; as `opened_mudata`."""
    anndata, mudata = packages()
    with ExitStack() as stack:
        with _damaged(file), quiet(mudata):
            if scratch is None:
                modality = anndata.read_h5ad(file)
            else:
                modality = stack.enter_context(disk_anndata(file))
        yield modality


def tables_from_anndata(
    modalities: Mapping[str, Any], files: Mapping[str, Path | None], scratch: Path | None = None
) -> list[Table]:
    """The matrix ``X`` of each modality, dense or sparse, as a table.

    Args:
        modalities: By layer: AnnData, or what `opened_anndata` gives.
        files: Their files, for messages; with ``scratch`` each has one.
        scratch: Folder for the tables, if the matrices are on disk.

    Raises:
        CohortError: If there is no matrix, or it does not hold numbers.
        OutputError: If ``scratch`` cannot be written.
    """
    if scratch is None:
        return [_table(name, modality, files[name]) for name, modality in modalities.items()]
    names = {}
    for name in modalities:
        file = files[name]
        assert file is not None
        names[name] = spool_name(file, name, "X")
    tables = spooled(
        scratch, names, lambda name: _stream(name, modalities[name], files[name], scratch)
    )
    return list(tables.values())


def _table(name: str, modality: Any, file: Path | None) -> Table:
    matrix = modality.X
    _require_numbers(name, matrix, file)
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    with np.errstate(over="ignore"):
        values = np.array(dense, dtype=np.float32, order="C")
    ids = tuple(str(label) for label in modality.obs_names)
    features = tuple(str(label) for label in modality.var_names)
    return Table(name, ids, features, values, file)


def _stream(name: str, modality: Any, file: Path | None, scratch: Path) -> TableStream:
    assert file is not None
    with _damaged(file):
        _require_numbers(name, modality.X, file)
    ids = tuple(str(label) for label in modality.obs_names)
    features = tuple(str(label) for label in modality.var_names)
    blocks = guarded(file, disk_blocks(modality.X, ids, scratch))
    return TableStream(name, features, blocks, file)


def _require_numbers(name: str, matrix: Any, file: Path | None) -> None:
    where = f"{file}, modality '{name}'" if file else f"modality '{name}'"
    shape, kind = ((0, 0), np.dtype(float)) if matrix is None else shape_and_type(matrix)
    if 0 in shape:
        message = f"{where}: expected a matrix X of samples and features, found none. Fill in X."
        raise CohortError(message)
    if kind.kind not in "fiub":
        message = f"{where}: expected numbers in X, found {kind}. Fill X with numbers."
        raise CohortError(message)


def packages() -> tuple[Any, Any]:
    """The packages ``anndata`` and ``mudata``.

    Raises:
        UsageError: If they are not installed.
    """
    try:
        import anndata
        import mudata
    except ImportError as error:
        message = (
            "MuData and AnnData need two optional packages that are not installed: run "
            "'pip install immo-hpc[mudata]'."
        )
        raise UsageError(message) from error
    return anndata, mudata


@contextmanager
def quiet(mudata: Any) -> Iterator[None]:
    """Without the warnings of these packages about names that layers share on purpose."""
    with warnings.catch_warnings(), mudata.set_options(pull_on_update=False):
        warnings.filterwarnings("ignore", message="(var|Variable|Observation).*not unique")
        warnings.filterwarnings("ignore", message="Cannot join columns with the same name")
        yield


@contextmanager
def _damaged(file: Path) -> Iterator[None]:
    """Turn what a damaged HDF5 file raises into a `CohortError` that names it."""
    try:
        yield
    except ImmoError:
        raise
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CohortError(damaged_message(file, error)) from error
