"""Times of several ways to do one thing, taken in turns, and the memory that each needs."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from immo_kernels import release_memory

Run = Callable[[int], object]  # takes the number of the call, to take another data set each time

# Shorter calls are timed several at once: long enough that what the contender before left behind,
# such as threads that still wait busily for work, does not count.
_TARGET_S = 0.05
_MMAP_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -4, -1, -3  # of mallopt(3)


@dataclass(frozen=True)
class Quantiles:
    """Times of one contender, milliseconds a call.

    Attributes:
        p20: 20 % of the timings are below.
        median: Half of them are.
        p80: 80 % of them are.
    """

    p20: float
    median: float
    p80: float


def time_in_turns(
    runs: Mapping[str, Run], device: torch.device, rounds: int
) -> dict[str, Quantiles]:
    """Time every contender once a round, the order turned round by round.

    Args:
        runs: Contenders by name; each has run before.
        device: Where they run: timed with events on CUDA, with the wall clock elsewhere.
        rounds: Timings of each.
    """
    once = _event_ms if device.type == "cuda" else _wall_ms
    calls = {name: _calls(run, once) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(once(runs[name], calls[name]))
    return {name: quantiles(values) for name, values in times.items()}


def quantiles(values: Sequence[float]) -> Quantiles:
    """20 %, 50 % and 80 % of the values."""
    if len(values) < 2:
        return Quantiles(values[0], values[0], values[0])
    fifths = statistics.quantiles(values, n=5, method="inclusive")
    return Quantiles(fifths[0], statistics.median(values), fifths[3])


def peak_extra_bytes(run: Run, device: torch.device) -> int | None:
    """Memory that one call takes at its peak beyond what was held before, results included.

    Returns:
        Bytes, to about 1 MB on the CPU; None where the system does not tell.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run(0)
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    _return_free_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
        before = _status_bytes("VmRSS")
        run(0)
        return max(0, _status_bytes("VmHWM") - before)
    except OSError:
        return None


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Let the C library keep all freed memory of this process for the next request.

    Without it glibc asks the system anew for every tensor beyond 32 MB.

    Yields:
        Whether it can be had here (glibc).
    """
    library = _glibc()
    if library is None:
        yield False
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield True
    finally:
        # As glibc's own adjustment leaves them in a process that frees large tensors.
        library.mallopt(_MMAP_MAX, 65_536)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_TRIM_THRESHOLD, 64 << 20)
        library.malloc_trim(0)


def _wall_ms(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for call in range(calls):
        run(call)
    return (time.perf_counter() - start) * 1e3 / calls


def _event_ms(run: Run, calls: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch's own
    start.record()
    for call in range(calls):
        run(call)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / calls


def _calls(run: Run, once: Callable[[Run, int], float]) -> int:
    return max(1, min(200, int(_TARGET_S * 1e3 / max(once(run, 3), 1e-3))))


def _return_free_memory() -> None:
    release_memory()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> Any | None:
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, TypeError):  # no C library under that name
        return None


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    message = f"/proc/self/status names no {name}"
    raise OSError(message)
