"""All samples in order, for inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.data.batches.batch import Batch, LayerBatch
from immo_hpc.data.batches.places import checked_places, row_of_sample
from immo_hpc.data.prepared import PreparedCohort


def whole(
    cohort: PreparedCohort,
    index: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """The samples in order, once, for inference; only one batch at a time is on the device.

    Args:
        cohort: Where the samples come from.
        index: Places of the samples, ``(sample,)``, in the order to give; None: all.
        batch_size: Samples in a batch, >= 1.
        device: Where the batches lie.

    Yields:
        Batches of ``batch_size`` samples; the last one holds what is left.

    Raises:
        UsageError: If there is no sample, or ``batch_size`` is below 1.
    """
    index = checked_places(cohort, index, batch_size)
    uid = cohort.sample_uid[index]
    places = {
        name: row_of_sample(layer, index, len(cohort.samples))
        for name, layer in cohort.layers.items()
    }
    for first in range(0, len(index), batch_size):
        layers = {}
        for name, layer in cohort.layers.items():
            row = places[name][first : first + batch_size]
            held = np.flatnonzero(row >= 0)
            layers[name] = LayerBatch(
                torch.from_numpy(layer.values[row[held]]), torch.from_numpy(held)
            )
        yield Batch(torch.from_numpy(uid[first : first + batch_size]), layers).to(device)
