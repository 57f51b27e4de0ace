"""What the CPU paths share: threads, and views of tensors for numba."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Elements from which a second thread pays although another process may hold its core (README.md).
PARALLEL_MIN = 1 << 19
_BLOCKS_PER_THREAD = 4

_one_parallel_call = threading.Lock()


def num_threads(num_elements: int) -> int:
    """Threads to use for an op on this many elements: 1 below `PARALLEL_MIN`."""
    if num_elements < PARALLEL_MIN:
        return 1
    return int(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def run_rows(
    serial: Callable[[], Callable[..., Any]],
    parallel: Callable[[], Callable[..., Any]],
    threads: int,
    num_rows: int,
    *arguments: Any,
) -> None:
    """Run a kernel over all rows, on one thread or in parallel; the results are the same.

    Args:
        serial: Returns the kernel ``(first_row, last_row, *arguments)``.
        parallel: Returns the kernel ``(num_blocks, num_rows, *arguments)``.
        threads: Threads to use.
        num_rows: Number of rows.
        *arguments: Passed to the kernel.
    """
    # One parallel call at a time: numba's fallback layer 'workqueue' ends the process when two
    # threads enter it together. A call that finds it taken runs on its own thread.
    if threads > 1 and num_rows > 1 and _may_run_parallel() and _one_parallel_call.acquire(False):
        masked = numba.get_num_threads()
        try:
            numba.set_num_threads(threads)
            parallel()(min(num_rows, _BLOCKS_PER_THREAD * threads), num_rows, *arguments)
        finally:
            numba.set_num_threads(masked)
            _one_parallel_call.release()
    else:
        serial()(0, num_rows, *arguments)


def flat(x: Tensor) -> tuple[NDArray[Any], int]:
    """View of a matrix for numba: its elements in one line, and the distance between rows.

    Copies only if neighbouring columns are not neighbours in memory.
    """
    x = x.detach()
    if not x.is_contiguous() and x.stride(1) != 1:
        x = x.contiguous()
    if x.is_contiguous():
        return x.numpy().reshape(-1), x.shape[1]
    length = (x.shape[0] - 1) * x.stride(0) + x.shape[1]
    return x.as_strided((length,), (1,)).numpy(), x.stride(0)


def table(per_layer: Tensor | None) -> NDArray[np.bool_]:
    """A bool ``(sample, layer)`` table in one line; no elements for None."""
    if per_layer is None:
        return _NO_TABLE
    return per_layer.contiguous().view(-1).numpy()


_NO_TABLE = np.empty(0, dtype=np.bool_)


def _may_run_parallel() -> bool:
    # GNU OpenMP ends a forked child that enters it after its parent did: such a child stays on
    # one thread.
    return _first_parallel_process() == os.getpid()


@functools.cache
def _first_parallel_process() -> int:
    return os.getpid()
