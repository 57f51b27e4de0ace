"""Writing a cohort as a folder of tables that reads back as the same cohort."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.description import FILE_NAMES
from immo_hpc.data.sample_table import SAMPLES
from immo_hpc.data.tables import ID_COLUMN, PARQUET
from immo_hpc.files import new_folder


def write_cohort(cohort: Cohort, folder: Path) -> None:
    """Write Parquet tables, ``samples.tsv`` and ``cohort.yaml`` into one new folder.

    Args:
        cohort: The cohort.
        folder: Absent, or present and empty.

    Raises:
        OutputError: If the folder holds something, or cannot be written. Nothing is left
            half-written.
    """
    with new_folder(folder) as place:
        for layer in cohort.layers.values():
            _write_layer(layer, cohort.sample_ids, place / f"{layer.name}{PARQUET}")
        _write_samples(cohort.samples, place / f"{SAMPLES}.tsv")
        text = yaml.safe_dump(_described(cohort), sort_keys=False, allow_unicode=True)
        (place / FILE_NAMES[0]).write_text(text, encoding="utf-8")


def _write_layer(layer: Layer, sample_ids: list[str], file: Path) -> None:
    ids = pa.array([sample_ids[row] for row in layer.rows], type=pa.string())
    # Columns are contiguous in the transpose, so Arrow takes them without another copy.
    columns = np.ascontiguousarray(layer.values.T)
    arrays = [ids, *(pa.array(column) for column in columns)]
    pq.write_table(pa.Table.from_arrays(arrays, names=[ID_COLUMN, *layer.features]), file)


def _write_samples(samples: pd.DataFrame, file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, delimiter="\t", lineterminator="\n")
        lines.writerow([ID_COLUMN, *samples.columns])
        for name, row in zip(samples.index, samples.astype(object).to_numpy(), strict=True):
            lines.writerow([name, *("" if pd.isna(value) else value for value in row)])


def _described(cohort: Cohort) -> dict[str, object]:
    roles = cohort.roles.to_dict()
    roles["covariates"] = list(cohort.roles.covariates)  # YAML has no tuples.
    layers = {name: {"kind": layer.kind} for name, layer in cohort.layers.items()}
    return {key: value for key, value in ({"layers": layers} | roles).items() if value}
