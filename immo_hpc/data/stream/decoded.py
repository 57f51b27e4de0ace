"""Values through Arrow's decoder: for older shards, and for those of other writers."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
from numpy.typing import NDArray

from immo_hpc.data.shards import schema
from immo_hpc.data.shards.check import REMEDY, UNREADABLE
from immo_hpc.data.stream.index import RowGroup
from immo_hpc.errors import ShardError


def decoded_rows(group: RowGroup, layer: str, shape: tuple[int, int]) -> NDArray[Any]:
    """All measured rows of a layer in a row group, in the type they are stored in.

    Args:
        group: The row group.
        layer: Name of the layer.
        shape: Measured rows and features that are expected.

    Raises:
        ShardError: If they cannot be decoded, or are not of that shape.
    """
    column = schema.values_column(layer)
    try:
        with pq.ParquetFile(group.path, page_checksum_verification=True) as shard:
            table = shard.read_row_group(group.number, columns=[column], use_threads=False)
    except UNREADABLE as error:
        raise ShardError(damaged(group, layer, str(error))) from error
    found = table.column(0)
    measured = len(found) - found.null_count
    if measured != shape[0]:
        what = f"expected {shape[0]} measured rows, found {measured}"
        raise ShardError(damaged(group, layer, what))
    row = schema.ragged_row(found, shape[1])
    if row is not None:
        what = f"expected lists of {shape[1]} values, found another length in row {row}"
        raise ShardError(damaged(group, layer, what))
    values: NDArray[Any] = found.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(shape)


def damaged(group: RowGroup, layer: str, what: str) -> str:
    """The sentence about values that are not what was written."""
    return (
        f"{group.path}, row group {group.number}, column '{schema.values_column(layer)}': "
        f"damaged: {what}. {REMEDY}"
    )
