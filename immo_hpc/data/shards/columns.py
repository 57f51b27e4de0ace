"""Values of one layer in a decoded part of a shard: out of Arrow lists and into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from immo_hpc.data.shards import schema


def layer_values(table: pa.Table, layer: str, width: int) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which rows of ``table`` have a layer, and their values.

    Args:
        table: Rows of a shard, with the column of the layer's values.
        layer: Name of the layer.
        width: Features that every list has (`schema.ragged_row` tells).

    Returns:
        True where measured, ``(row,)``, and the values, ``(measured row, feature)``, in the
        stored type, bit for bit.
    """
    column = table.column(schema.values_column(layer))
    parts = [np.empty((0, width), dtype=column.type.value_type.to_pandas_dtype())]
    for chunk in column.chunks:
        # Lists that are null have no values, so the others lie one after the other.
        first, last = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()
        parts.append(chunk.values.to_numpy()[first:last].reshape(-1, width))
    measured = column.is_valid().to_numpy()
    return measured, parts[1] if len(parts) == 2 else np.concatenate(parts)


def layer_columns(
    measured: NDArray[np.bool_], values: NDArray[Any], scale: NDArray[np.float32], dtype: str
) -> tuple[pa.Array, pa.Array]:
    """Values and scale of a layer as columns of a shard, null where not measured.

    Args:
        measured: True where a row has the layer, ``(row,)``.
        values: ``(measured row, feature)``, in the stored type.
        scale: Scale of the measured rows, ``(measured row,)``.
        dtype: The stored type.
    """
    offsets = np.zeros(len(measured) + 1, dtype=np.int32)
    np.cumsum(np.where(measured, values.shape[1], 0), out=offsets[1:])
    scales = np.zeros(len(measured), dtype=np.float32)
    scales[measured] = scale
    lists = pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(np.ascontiguousarray(values).reshape(-1)),
        type=schema.values_type(dtype),
        mask=pa.array(~measured),
    )
    return lists, pa.array(scales, mask=~measured)
