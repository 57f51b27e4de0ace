"""Memory of a process and its children over time, seen from outside."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_FIELDS = ("RssAnon", "RssFile", "RssShmem")
_MOST_POINTS = 240


@dataclass(frozen=True)
class MemoryPoint:
    """Resident memory at one moment.

    Attributes:
        at: Seconds, on the clock of `time.monotonic`.
        private_mb: Of the process alone, 10^6 bytes (``RssAnon``).
        total_mb: With mapped files and shared memory, which the system can take back or which
            children share (``RssAnon`` + ``RssFile`` + ``RssShmem``).
    """

    at: float
    private_mb: float
    total_mb: float


def watch(
    words: Sequence[str], interval_s: float = 0.05
) -> tuple[str, str, int, list[MemoryPoint]]:
    """Run a program to its end, and look at its memory all the while.

    Args:
        words: Program and arguments.
        interval_s: Time between two looks.

    Returns:
        What it printed, its errors, its exit code, and its memory.
    """
    points: list[MemoryPoint] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        is_over = threading.Event()

        def look() -> None:
            while not is_over.wait(interval_s):
                if point := _look(process.pid):
                    points.append(point)

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            out, errors = process.communicate()
        except BaseException:
            process.kill()
            raise
        finally:
            is_over.set()
            watcher.join()
    return out, errors, process.returncode, points


def between(points: Sequence[MemoryPoint], began: float, ended: float) -> list[MemoryPoint]:
    """The points of a stretch of time, at most so many that a figure can show."""
    found = [point for point in points if began <= point.at <= ended]
    step = max(1, -(-len(found) // _MOST_POINTS))
    # Of each stretch the largest, so that no peak is lost.
    return [
        max(found[start : start + step], key=lambda point: point.private_mb)
        for start in range(0, len(found), step)
    ]


def _look(pid: int) -> MemoryPoint | None:
    at, private, total = time.monotonic(), 0, 0
    for process in _family(pid):
        # It may end while it is looked at: its status then names no memory.
        with suppress(OSError, IndexError):
            status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
            sizes = [int(status.partition(f"{name}:")[2].split()[0]) for name in _FIELDS]
            private += sizes[0]
            total += sum(sizes)
    return MemoryPoint(at, private * 1024 / 1e6, total * 1024 / 1e6) if total else None


def _family(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in path.read_text(encoding="ascii").split():
                yield from _family(int(child))
