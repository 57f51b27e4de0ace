"""What a batch is, where training takes it from, and what may be asked for.

Legend of shapes: ``sample`` counts the samples of a batch, ``row`` those of them in
which a layer was measured, ``feature`` the features of that layer.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.errors import UsageError


@dataclass(frozen=True, slots=True)
class LayerBatch:
    """The measured rows of one layer in a batch.

    Attributes:
        values: ``(row, feature)``, float32, z-score units, NaN = missing.
        rows: Place of each row in the batch, ``(row,)``, int64, increasing.
    """

    values: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples with every layer of the cohort; a layer none of them has has no rows.

    Attributes:
        sample_uid: Stable identity of each sample, ``(sample,)``, int64.
        layers: Layers by name, in the order of the cohort.
    """

    sample_uid: Tensor
    layers: Mapping[str, LayerBatch]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.sample_uid)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on ``device``; nothing is copied if it is there already.

        Args:
            device: Where to.
            non_blocking: Do not wait for copies from page-locked memory.
        """
        layers = {
            name: LayerBatch(
                layer.values.to(device, non_blocking=non_blocking),
                layer.rows.to(device, non_blocking=non_blocking),
            )
            for name, layer in self.layers.items()
        }
        return Batch(self.sample_uid.to(device, non_blocking=non_blocking), layers)


class Source(Protocol):
    """Where training takes its batches from."""

    @property
    def num_samples(self) -> int:
        """Samples in an epoch."""

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """Every sample once, in the order of that epoch, from batch ``start`` on."""

    def dealt(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of all samples in the order of that epoch, and the process that gets each.

        A batch of all processes is the next ``batch_size`` of them; that of one process is
        what it gets of these, in the same order.
        """


def require_batches(num_samples: int, batch_size: int) -> None:
    """Refuse to make batches of nothing.

    Raises:
        UsageError: If there is no sample, or ``batch_size`` is below 1.
    """
    if batch_size < 1 or not num_samples:
        message = (
            f"expected at least one sample and a batch size of at least 1, "
            f"found {num_samples} samples and batch size {batch_size}."
        )
        raise UsageError(message)


def require_rank(rank: int, world_size: int) -> None:
    """Refuse a process that is none of ``world_size``.

    Raises:
        UsageError: If ``rank`` is not 0 to ``world_size`` - 1.
    """
    if not 0 <= rank < world_size:
        message = f"process {rank} of {world_size}: expected 0 to {world_size - 1}."
        raise UsageError(message)


def require_start(start: int, num_batches: int, num_samples: int) -> None:
    """Refuse to start at a batch that is not there.

    Raises:
        UsageError: If ``start`` is not 0 to ``num_batches``.
    """
    if not 0 <= start <= num_batches:
        message = (
            f"batch {start} to start at: expected 0 to {num_batches}, the batches of "
            f"{num_samples} samples; the run belongs to other data or another batch size."
        )
        raise UsageError(message)
