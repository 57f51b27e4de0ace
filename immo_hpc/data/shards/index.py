"""Who is in a set of shards and what was measured of them, without the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.cohort import subjects_of
from immo_hpc.data.manifest import Manifest
from immo_hpc.data.shards import schema
from immo_hpc.data.shards.check import REMEDY, UNREADABLE
from immo_hpc.errors import ShardError


@dataclass(frozen=True)
class SetIndex:
    """The samples of a set in the order of its shards.

    Attributes:
        samples: Sample table, index ``sample_id``.
        uid: Identities, ``(sample,)``, int64.
        split: Sides, ``(sample,)``; None if the set was not split.
        measured: True where a sample has a layer, ``(sample, layer)``, layers as in the manifest.
        ends: Samples in the shards up to each, that one included, ``(shard,)``, int64.
    """

    samples: pd.DataFrame
    uid: NDArray[np.int64]
    split: NDArray[np.str_] | None
    measured: NDArray[np.bool_]
    ends: NDArray[np.int64]

    @cached_property
    def place(self) -> Mapping[str, int]:
        """Place of each sample by name."""
        return {str(name): place for place, name in enumerate(self.samples.index)}

    def of_shard(self, shard: int) -> range:
        """Places of the samples of a shard."""
        return range(int(self.ends[shard - 1]) if shard else 0, int(self.ends[shard]))


def read_index(folder: Path, manifest: Manifest) -> SetIndex:
    """Read the columns about samples, and which layers they have; no values.

    Raises:
        ShardError: If a shard cannot be read, or is not what the manifest says.
    """
    scales = [schema.scale_column(layer) for layer in manifest.features]
    others = [*schema.identity_fields(), *map(schema.sample_column, manifest.columns)]
    tables = [
        _read_columns(folder / entry.name, manifest, entry.rows, others + scales)
        for entry in manifest.shards
    ]
    table = pa.concat_tables(tables)
    measured = [table.column(name).is_valid().to_numpy() for name in scales]
    split = None
    if manifest.splits:
        split = np.array(pc.fill_null(table.column("split"), "").to_pylist(), dtype=np.str_)
    return SetIndex(
        samples=schema.samples_from_arrow(table, manifest.columns),
        uid=table.column("sample_uid").to_numpy(),
        split=split,
        measured=np.stack(measured, axis=1),
        ends=np.cumsum([entry.rows for entry in manifest.shards]),
    )


def side_of_subject(index: SetIndex, manifest: Manifest) -> dict[str, str]:
    """Side that the samples of each subject are on; of several, the one most of them are on."""
    assert index.split is not None
    subjects = subjects_of(index.samples, manifest.roles)
    known = subjects.notna().to_numpy()
    counted = pd.crosstab(subjects[known].astype(str).to_numpy(), index.split[known])
    return {str(name): str(side) for name, side in counted.idxmax(axis=1).items()}


def _read_columns(path: Path, manifest: Manifest, rows: int, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as shard:
            if (shard.schema_arrow.metadata or {}).get(schema.TAG) != schema.shard_tag(
                manifest.features
            ):
                message = f"{path}: a shard of another cohort or preparation. {REMEDY}"
                raise ShardError(message)
            table = shard.read(columns=columns)
    except ShardError:
        raise
    except UNREADABLE as error:
        message = f"{path}: a shard of the manifest that cannot be read ({error}). {REMEDY}"
        raise ShardError(message) from error
    if table.num_rows != rows or table.column_names != columns:
        message = (
            f"{path}: expected {rows} rows with the columns of the manifest, found "
            f"{table.num_rows} rows and {', '.join(table.column_names)}. {REMEDY}"
        )
        raise ShardError(message)
    return table
