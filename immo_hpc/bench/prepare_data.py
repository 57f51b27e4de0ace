"""Tables for `immo bench prepare`: one layer of intensities, written a block at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from immo_hpc.errors import UsageError

# Of a row group, 128 MB: other programs write large ones, and each costs a kilobyte a column.
_BLOCK_VALUES = {"csv": 2**21, "parquet": 2**25}
_VISITS = 4


def write_tables(folder: Path, samples: int, features: int, kind: str) -> Path:
    """Write a cohort of one layer.

    Args:
        folder: New folder.
        samples: Its samples, four of each person.
        features: Features of the layer.
        kind: Format of the layer's table, 'csv' or 'parquet'.

    Returns:
        The layer's table; values have six digits, as measured ones do.
    """
    if kind not in _BLOCK_VALUES:
        message = f"expected csv or parquet, found {kind!r}."
        raise UsageError(message)
    folder.mkdir(parents=True)
    ids = [f"s{number:07d}" for number in range(samples)]
    people = ["\t".join((name, f"p{number // _VISITS}")) for number, name in enumerate(ids)]
    lines = "\n".join(["sample_id\tsubject_id", *people, ""])
    (folder / "samples.tsv").write_text(lines, encoding="utf-8")
    (folder / "cohort.yaml").write_text("layers: {mb: {kind: intensity}}\n", encoding="utf-8")
    table = folder / f"mb.{kind}"
    names = ["sample_id", *(f"f{number}" for number in range(features))]
    schema = pa.schema(
        [(name, pa.string() if name == names[0] else pa.float32()) for name in names]
    )
    rng = np.random.default_rng(0)
    step = max(1, _BLOCK_VALUES[kind] // features)
    writer = pa.csv.CSVWriter if kind == "csv" else pq.ParquetWriter
    with writer(table, schema) as out:
        for start in range(0, samples, step):
            block = ids[start : start + step]
            values = rng.lognormal(8, 2, (len(block), features))
            digits = 10 ** (np.floor(np.log10(values)) - 5)
            values = (np.round(values / digits) * digits).astype(np.float32)
            out.write_table(pa.Table.from_arrays([pa.array(block), *values.T], schema=schema))
    return table
