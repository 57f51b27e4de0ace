"""Memory of results on the CPU, kept between calls.

Beyond 32 MB the C library takes a fresh mapping for every tensor and gives it back when the
tensor goes; below, it often gives freed memory back too, as soon as enough of it lies together.
Each step of a loop then pays for the system's handing out of pages: several times what filling
them costs (docs/notes/kernel-speed.md). The blocks made here are used again once no tensor holds
them.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Below, handing out of pages is not what a call costs.
KEPT_MIN = 1 << 20
# A block is used for tensors down to this part of it, so that a small tensor that is held for
# long does not hold a large block.
_LEAST_PART = 4
_HUGE_PAGE = 2 << 20


@dataclass
class _Block:
    """Memory, and the array through which a tensor holds it while there is one."""

    memory: mmap.mmap
    holder: weakref.ref[Any] | None = None

    def is_free(self) -> bool:
        return self.holder is None or self.holder() is None

    def fits(self, num_bytes: int) -> bool:
        return num_bytes <= len(self.memory) <= _LEAST_PART * num_bytes + _HUGE_PAGE


_blocks: list[_Block] = []
_most_bytes_used = 0
_lock = threading.Lock()


def empty(shape: Sequence[int]) -> Tensor:
    """As ``torch.empty(shape)`` in float32 on the CPU; in a kept block from `KEPT_MIN` bytes on.

    A request that no free block fits gives free blocks back to the system, so that what is kept
    is never more than what was in use at once.
    """
    num_bytes = 4 * math.prod(shape)
    if num_bytes < KEPT_MIN or not hasattr(mmap, "MAP_ANONYMOUS"):
        return torch.empty(tuple(shape), dtype=torch.float32)
    with _lock:
        fitting = (block for block in _blocks if block.is_free() and block.fits(num_bytes))
        block = min(fitting, key=lambda block: len(block.memory), default=None) or _new(num_bytes)
        values = np.frombuffer(block.memory, np.float32, num_bytes // 4).reshape(shape)
        block.holder = weakref.ref(values)
    tensor = torch.from_numpy(values)
    # What torch.empty does on request, so that an unwritten element shows.
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property of the module
    if fills and torch.are_deterministic_algorithms_enabled():
        tensor.fill_(torch.nan)
    return tensor


def release_memory() -> None:
    """Give memory that the CPU path keeps, and no tensor holds, back to the system."""
    global _most_bytes_used
    with _lock:
        _blocks[:] = [block for block in _blocks if not block.is_free()]
        _most_bytes_used = _num_bytes(_blocks)


def _new(num_bytes: int) -> _Block:
    global _most_bytes_used
    block = _Block(_mapping(num_bytes))
    free = [block for block in _blocks if block.is_free()]
    used = [block, *(block for block in _blocks if not block.is_free())]
    _most_bytes_used = max(_most_bytes_used, _num_bytes(used))
    while free and _num_bytes(free) + _num_bytes(used) > _most_bytes_used:
        free.pop(0)
    _blocks[:] = [*free, *used]
    return block


def _num_bytes(blocks: Sequence[_Block]) -> int:
    return sum(len(block.memory) for block in blocks)


def _mapping(num_bytes: int) -> mmap.mmap:
    # Whole huge pages: the system then places the mapping on a boundary of them.
    size = -(-num_bytes // _HUGE_PAGE) * _HUGE_PAGE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A system built without huge pages refuses; small ones do.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
