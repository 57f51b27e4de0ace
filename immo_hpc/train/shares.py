"""Which rows of the whole batches a process has, as all processes know without asking.

Order, measured layers and the draw of hidden layers are pure functions of seed, epoch and
samples, so every process knows what the others work on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.data.batches import Source
from immo_hpc.nn.gradient import DECODER
from immo_hpc.nn.shared import RowShare
from immo_hpc.train.objective import Objective
from immo_hpc.train.samples import Samples
from immo_kernels import keep_layers


@dataclass(frozen=True)
class BatchShare:
    """This process's part of a batch of all processes.

    Attributes:
        size: Samples of the whole batch.
        present: Layers that any of them has, in the order of the cohort.
        rows: Rows that each stack of blocks works on (`immo_hpc.nn.shared`).
    """

    size: int
    present: tuple[str, ...]
    rows: dict[int, RowShare]


class EpochShares:
    """The parts of one process in all batches of an epoch.

    Args:
        samples: The cohort.
        source: Where the batches come from.
        objective: The epoch, its mask stream and keep probabilities.
        rank: Number of this process.
        device: Where the rows of a batch lie.
    """

    def __init__(
        self,
        samples: Samples,
        source: Source,
        objective: Objective,
        rank: int,
        device: torch.device,
    ) -> None:
        places, ranks = source.dealt(objective.epoch)
        self._device, self._names = device, list(objective.terms)
        self._batch_size = objective.config.train.batch_size
        self._mine = ranks == rank
        self._measured = samples.measured()[places]
        shown = torch.from_numpy(self._measured)
        if objective.keep_layers < 1:
            uid = torch.from_numpy(samples.sample_uid[places])
            shown = keep_layers(
                shown, uid, keep_probability=objective.keep_layers, stream=objective.stream
            )
        self._shown: NDArray[np.bool_] = shown.numpy()

    def of(self, step: int) -> BatchShare:
        """The part in batch ``step`` of the epoch, counted from 0."""
        batch = slice(step * self._batch_size, (step + 1) * self._batch_size)
        mine = self._mine[batch]
        has = np.any(self._measured[batch], axis=0).tolist()
        rows = {
            place: RowShare(int(column.sum()), self._places(np.cumsum(column)[column & mine] - 1))
            for place, column in enumerate(self._shown[batch].T)
        }
        rows[DECODER] = RowShare(len(mine), self._places(np.flatnonzero(mine)))
        present = tuple(name for name, held in zip(self._names, has, strict=True) if held)
        return BatchShare(len(mine), present, rows)

    def _places(self, places: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(places).to(self._device)
