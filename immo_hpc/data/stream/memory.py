"""Memory that is used again and again."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Memory:
    """Memory of windows, used again once nobody holds a batch made of it.

    Args:
        pin: Page-locked, so that a GPU copies from it in the background.
    """

    def __init__(self, *, pin: bool) -> None:
        self._pin = pin
        self._free: list[Tensor] = []

    def take(self, size: int, capacity: int) -> NDArray[np.uint8]:
        """At least ``size`` bytes; ``capacity`` if they must be got from the system."""
        block = None
        while self._free and (block is None or len(block) < size):
            block = self._free.pop()
        if block is None or len(block) < size:
            capacity = max(size, capacity)
            # NumPy asks for huge pages, torch does not.
            block = (
                torch.empty(capacity, dtype=torch.uint8, pin_memory=True)
                if self._pin
                else torch.from_numpy(np.empty(capacity, dtype=np.uint8))
            )
        memory: NDArray[np.uint8] = block.numpy()
        # All views and tensors made of it keep this very array, and no other, alive.
        weakref.finalize(memory, self._free.append, block).atexit = False
        return memory
