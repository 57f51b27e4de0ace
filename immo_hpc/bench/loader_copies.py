"""The same cohort as other loaders want it: one file a layer, with its measured rows only.

So no copy holds more values than the shards do. Each is written as its reader is fastest:
nothing compressed, nothing dictionary-encoded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from immo_hpc.bench.loader_cache import copy_files
from immo_hpc.bench.loader_data import LAYERS, BenchCohort, write_cohort_shards

# Samples in a Parquet file of one column a feature: some tables of it fit 2 GB.
PARQUET_SAMPLES = 4096
_BLOCK_SAMPLES = 1024
# As `datasets` writes them.
_ARROW_SAMPLES = 1000


def write_npy(cohort: BenchCohort, folder: Path) -> None:
    """One ``.npy`` a layer."""
    folder.mkdir()
    for name in LAYERS:
        shape = (len(cohort.rows[name]), len(cohort.features[name]))
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with (folder / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in cohort.blocks(name, _BLOCK_SAMPLES):
                file.write(block.data)


def write_h5ad(cohort: BenchCohort, folder: Path) -> None:
    """One ``.h5ad`` a layer; its matrix is appended block by block."""
    # An extra of this package, so it may be absent.
    import anndata
    import h5py

    folder.mkdir()
    ids = np.array(cohort.sample_ids)
    for name in LAYERS:
        path = folder / f"{name}.h5ad"
        rows, features = cohort.rows[name], cohort.features[name]
        anndata.AnnData(
            obs=pd.DataFrame(index=ids[rows]),
            var=pd.DataFrame(index=list(features)),
        ).write_h5ad(path)
        with h5py.File(path, "r+") as file:
            if "X" in file:
                del file["X"]
            matrix = file.create_dataset("X", (len(rows), len(features)), "<f4")
            matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            start = 0
            for block in cohort.blocks(name, _BLOCK_SAMPLES):
                matrix[start : start + len(block)] = block
                start += len(block)


def write_parquet(cohort: BenchCohort, folder: Path) -> None:
    """One column a feature, a file for each layer and 4,096 samples."""
    for name in LAYERS:
        part = folder / name
        part.mkdir(parents=True)
        for number, block in enumerate(cohort.blocks(name, PARQUET_SAMPLES)):
            columns = list(np.ascontiguousarray(block.T))
            pq.write_table(
                pa.table(columns, names=list(cohort.features[name])),
                part / f"{number:05d}.parquet",
                compression="none",
                use_dictionary=False,
                write_statistics=False,
            )


def write_arrow(cohort: BenchCohort, folder: Path) -> None:
    """One Arrow stream a layer, as `datasets` keeps them."""
    folder.mkdir()
    for name in LAYERS:
        width = len(cohort.features[name])
        schema = pa.schema([("x", pa.list_(pa.float32(), width))])
        with pa.ipc.new_stream(folder / f"{name}.arrow", schema) as writer:
            for block in cohort.blocks(name, _ARROW_SAMPLES):
                column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), width)
                writer.write_batch(pa.record_batch([column], schema=schema))


# What a copy is called, and what writes it.
COPIES: dict[str, Callable[[BenchCohort, Path], None]] = {
    "shards": write_cohort_shards,
    "npy": write_npy,
    "h5ad": write_h5ad,
    "parquet": write_parquet,
    "arrow": write_arrow,
}


def write_copy(cohort: BenchCohort, kind: str, folder: Path) -> Path:
    """Write one copy to ``folder/kind`` and on to the disk, so that the cache can be dropped."""
    unfinished = folder / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    COPIES[kind](cohort, unfinished / kind)
    for path in copy_files(unfinished, kind):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    (unfinished / kind).rename(folder / kind)
    unfinished.rmdir()
    return folder / kind
