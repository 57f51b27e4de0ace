"""Some samples of a folder of shards as an ordinary prepared cohort in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.stream.groups import GroupReader
from immo_hpc.data.stream.index import ShardIndex


def read_samples(index: ShardIndex, places: Sequence[int] | NDArray[np.int64]) -> PreparedCohort:
    """Read some samples; only the row groups that hold them are touched.

    Args:
        index: The opened shards.
        places: Places of the samples, ``(sample,)``, increasing.

    Raises:
        ShardError: If a row group is damaged; it names shard, row group and column.
    """
    chosen = np.asarray(places, dtype=np.int64)
    place = np.full(len(index.samples), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    layers = {}
    with GroupReader(index) as reader:
        for name, layer in index.layers.items():
            wanted = np.flatnonzero(place[layer.rows] >= 0)
            values = np.empty((len(wanted), len(layer.features)), dtype=np.float32)
            bounds = np.searchsorted(layer.rows[wanted], index.first_samples)
            for group, low, high in zip(
                index.groups, bounds, [*bounds[1:], len(wanted)], strict=True
            ):
                if high > low:
                    first = np.searchsorted(layer.rows, group.first)
                    reader.read_into(group, name, wanted[low:high] - first, values[low:high])
                    reader.let_go(group)
            rows = place[layer.rows[wanted]]
            layers[name] = PreparedLayer(name, layer.features, values, rows, layer.scale[wanted])
    return PreparedCohort(
        samples=index.samples.iloc[chosen],
        layers=layers,
        roles=index.roles,
        split=None if index.split is None else index.split[chosen],
    )
