"""What every contender of `immo bench loader` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SEED = 0


@dataclass(frozen=True)
class Delivered:
    """One batch.

    Attributes:
        ids: Identity of each sample, ``(sample,)``, int64, as in the contender's ``ids``.
        layers: By layer: values, ``(row, feature)``, float32, and the place of each row in the
            batch, ``(row,)``, int64.
    """

    ids: NDArray[np.int64]
    layers: Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Opened:
    """A contender ready to be timed.

    Attributes:
        ids: Identity that it gives to each sample of the cohort, ``(sample,)``, int64.
        epoch: Its batches, in the order of an epoch.
    """

    ids: NDArray[np.int64]
    epoch: Callable[[int], Iterator[Delivered]]
