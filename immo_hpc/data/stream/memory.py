"""Memory that is used again and again."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
import weakref
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Bytes that compiled code writes at once, to addresses that are multiples of them.
_ALIGN = 64
# What is expected differs by less from one epoch to the next, so that blocks fit all of them.
_SLACK = 1.06


class Memory:
    """Blocks of memory, each used again once nobody holds an array made of it.

    Args:
        pin: Page-locked, so that a GPU copies from it in the background.
    """

    def __init__(self, *, pin: bool) -> None:
        self._pin = pin
        self._free: list[Tensor] = []
        self._capacity = 0

    def expect(self, size: int) -> None:
        """From now on blocks hold at least ``size`` bytes, so that one fits all."""
        if size > self._capacity:
            self._capacity = int(_SLACK * size)

    def matrices(self, shapes: Mapping[str, tuple[int, int]]) -> dict[str, NDArray[np.float32]]:
        """Matrices of float32 in one block, what is in them left as it is.

        Args:
            shapes: Shape of each, by name.
        """
        memory = self._take(matrices_bytes(shapes))
        start = -memory.ctypes.data % _ALIGN
        found = {}
        for name, shape in shapes.items():
            part = memory[start : start + 4 * math.prod(shape)]
            found[name] = part.view(np.float32).reshape(shape)
            start += _aligned_bytes(shape)
        return found

    def _take(self, size: int) -> NDArray[np.uint8]:
        block = None
        while self._free and (block is None or len(block) < size):
            block = self._free.pop()
        if block is None or len(block) < size:
            # Not both at once, if the one that is there is too small.
            block = None
            block = _block(max(size, self._capacity), pin=self._pin)
        memory: NDArray[np.uint8] = block.numpy()
        # All views and tensors made of it keep this very array, and no other, alive.
        weakref.finalize(memory, self._free.append, block).atexit = False
        return memory


def _block(size: int, *, pin: bool) -> Tensor:
    if pin:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)
    # From the system itself: an allocator keeps blocks up to 32 MB once they are freed, for each
    # thread, and threads end with the epoch.
    try:
        mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        message = f"no memory for {size / 2**20:.0f} MB of samples ({error.strerror})"
        raise MemoryError(message) from error
    if sys.platform == "linux":
        # Advice: a kernel without huge pages does not take it.
        with contextlib.suppress(OSError):
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(mapped, dtype=torch.uint8)


def matrices_bytes(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Bytes of a block that `Memory.matrices` takes."""
    return _ALIGN + sum(map(_aligned_bytes, shapes.values()))


def _aligned_bytes(shape: tuple[int, int]) -> int:
    return -(-4 * math.prod(shape) // _ALIGN) * _ALIGN
