"""``.h5ad`` and ``.h5mu`` files whose matrices stay on disk (optional extra ``immo-hpc[mudata]``).

What is opened here offers of AnnData and MuData what a cohort is made of: names, sample columns,
saved settings, and ``X``, which is read in blocks. Layers, embeddings and graphs are not touched.
Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import BLOCK_BYTES, rows_in
from immo_hpc.data.streams import RowBlock
from immo_hpc.data.turning import column_file

# Most bytes of one row of HDF5 chunks that is read at once rather than column by column.
_MOST_CHUNK_ROW = 4 * BLOCK_BYTES


@dataclass(frozen=True)
class DiskModality:
    """One AnnData with its matrix on disk.

    Attributes:
        X: HDF5 dataset (dense) or group (sparse); None if there is none.
        obs: Sample columns, index sample names.
        var_names: Names of the features.
        uns: Saved settings.
    """

    X: Any
    obs: pd.DataFrame
    var_names: pd.Index
    uns: Mapping[str, Any]

    @property
    def obs_names(self) -> pd.Index:
        """Names of the samples."""
        return self.obs.index


@dataclass(frozen=True)
class DiskMuData:
    """One MuData with its matrices on disk.

    Attributes:
        mod: Modalities by name, in order.
        obs: Sample columns, index sample names.
        uns: Saved settings.
    """

    mod: Mapping[str, DiskModality]
    obs: pd.DataFrame
    uns: Mapping[str, Any]

    def __getitem__(self, name: str) -> DiskModality:
        """The modality of that name."""
        return self.mod[name]


@contextmanager
def disk_anndata(file: Path) -> Iterator[DiskModality]:
    """An ``.h5ad`` file; raises what HDF5 and anndata raise for a damaged one."""
    import h5py

    with h5py.File(file, "r") as content:
        yield _modality(content)


@contextmanager
def disk_mudata(file: Path) -> Iterator[DiskMuData]:
    """An ``.h5mu`` file; raises what HDF5 and anndata raise for a damaged one."""
    import h5py
    from anndata.io import read_elem

    with h5py.File(file, "r") as content:
        groups = content["mod"]
        order = [str(name) for name in groups.attrs.get("mod-order", [])]
        names = order if order and set(order) <= set(groups) else list(groups)
        uns = read_elem(content["uns"]) if "uns" in content else {}
        modalities = {name: _modality(groups[name]) for name in names}
        yield DiskMuData(modalities, read_elem(content["obs"]), uns)


def shape_and_type(matrix: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the numbers of an ``X`` on disk."""
    if _is_sparse(matrix):
        return tuple(int(n) for n in matrix.attrs["shape"]), matrix["data"].dtype
    return tuple(matrix.shape), matrix.dtype


def disk_blocks(matrix: Any, ids: tuple[str, ...], scratch: Path) -> Iterator[RowBlock]:
    """The rows of an ``X`` on disk, dense, in blocks.

    Args:
        matrix: HDF5 dataset or group.
        ids: Names of the rows, ``(row,)``.
        scratch: Folder for what can be read by columns alone.

    Raises:
        OutputError: If ``scratch`` cannot be written.
    """
    (num_rows, width), _ = shape_and_type(matrix)
    step = rows_in(width)
    if not _is_sparse(matrix):
        tall = matrix.chunks[0] if matrix.chunks else 1
        if tall * width * 4 > _MOST_CHUNK_ROW:
            yield from _by_columns(matrix, matrix.chunks[1], ids, width, scratch)
            return
        step = max(step // tall, 1) * tall
    elif matrix.attrs["encoding-type"] == "csc_matrix":
        yield from _by_columns(matrix, 1, ids, width, scratch)
        return
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        yield ids[start:stop], _piece(matrix, start, stop, axis=0)


def _by_columns(
    matrix: Any, least: int, ids: tuple[str, ...], width: int, scratch: Path
) -> Iterator[RowBlock]:
    step = max(rows_in(len(ids)) // least, 1) * least
    with column_file(scratch, len(ids)) as columns:
        for start in range(0, width, step):
            columns.add(_piece(matrix, start, min(start + step, width), axis=1))
        given = 0
        for block in columns.rows():
            yield ids[given : given + len(block)], block
            given += len(block)


def _piece(matrix: Any, start: int, stop: int, *, axis: int) -> NDArray[np.float32]:
    """Rows (axis 0) or columns (axis 1) from ``start`` to ``stop``, dense."""
    if _is_sparse(matrix):
        from scipy import sparse

        pointers = matrix["indptr"][start : stop + 1].astype(np.int64)
        held = slice(int(pointers[0]), int(pointers[-1]))
        shape = [int(n) for n in matrix.attrs["shape"]]
        shape[axis] = stop - start
        make = sparse.csc_matrix if axis else sparse.csr_matrix
        content = (matrix["data"][held], matrix["indices"][held], pointers - pointers[0])
        dense = make(content, shape=shape).toarray()
    else:
        dense = matrix[:, start:stop] if axis else matrix[start:stop]
    # A value beyond float32 becomes infinite and is refused as such.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(dense, dtype=np.float32)


def _is_sparse(matrix: Any) -> bool:
    return hasattr(matrix, "keys")


def _modality(group: Any) -> DiskModality:
    from anndata.io import read_elem

    obs, var = read_elem(group["obs"]), read_elem(group["var"])
    obs.index = obs.index.astype(str)
    uns = read_elem(group["uns"]) if "uns" in group else {}
    matrix = group.get("X")
    if matrix is not None and matrix.attrs.get("encoding-type") == "null":
        matrix = None
    return DiskModality(matrix, obs, pd.Index(var.index), uns)
