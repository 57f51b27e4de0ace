"""One contender of `immo bench loader` in a process of its own, under a memory limit.

``python -m immo_hpc.bench.loader_child JSON`` with the fields of `Task`; prints a JSON object.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from immo_hpc.bench import loader_cache as cache

if TYPE_CHECKING:
    from immo_hpc.bench.loader_batch import Delivered, Opened
    from immo_hpc.bench.loader_data import BenchCohort

State = Literal["cold", "warm"]
# Beside what a contender holds for itself there are interpreter, libraries and one batch.
_OWN_SHARE = 0.5
# Threads that read, and whether what was read is kept for a while.
FLOORS = {"read": (1, False), "read, 2 threads": (2, False), "read, kept": (1, True)}
_KEPT_SHARE = 0.25


@dataclass(frozen=True)
class Task:
    """What a child does.

    Attributes:
        contender: One of `loader_contenders.CONTENDERS` or of `FLOORS`.
        folder: Folder of the copies.
        copy: The copy that it reads.
        state: Of the page cache before each epoch: 'cold': nothing of the copy; 'warm': all.
        batch_size: Samples in a batch.
        epochs: Epochs.
        memory_bytes: Most bytes of private memory of the process.
        seconds: An epoch ends after so long; None: when it is through.
        check: Batches to compare with what was written instead of timing; -1: all.
    """

    contender: str
    folder: str
    copy: str
    state: State
    batch_size: int
    epochs: int
    memory_bytes: int
    seconds: float | None = None
    check: int = 0


def run(task: Task) -> dict[str, Any]:
    """Do a task in this process; gives what is to be printed."""
    folder = Path(task.folder)
    files = cache.copy_files(folder, task.copy)
    if task.contender in FLOORS:
        return {"epochs": [_timed_floor(task, files) for _ in range(task.epochs)]}
    # Not at the top: reading files alone takes neither the time nor the memory of torch.
    from immo_hpc.bench.loader_contenders import CONTENDERS
    from immo_hpc.bench.loader_data import described

    cohort = described(folder)
    assert cohort is not None
    contender = CONTENDERS[task.contender]
    share = int(_OWN_SHARE * task.memory_bytes)

    def opened() -> Opened:
        return contender.open(cohort, folder, task.batch_size, share)

    if task.check:
        return {"wrong": fault(opened(), cohort, task.batch_size, task.check)}
    epochs = []
    once = None if contender.is_mapped else opened()
    for number in range(task.epochs):
        # What is mapped stays in the page cache.
        gc.collect()
        held = _prepare(task.state, files)
        epochs.append(_timed_epoch(task, once or opened(), number, held))
    return {"epochs": epochs}


def fault(opened: Opened, cohort: BenchCohort, batch_size: int, batches: int) -> str | None:
    """What is wrong with a contender's batches, in words; None if nothing is.

    Args:
        opened: The contender.
        cohort: What it should give.
        batch_size: Samples in a batch.
        batches: How many batches are compared; -1: all of an epoch.
    """
    order = np.argsort(opened.ids)
    seen: list[Any] = []
    for number, batch in enumerate(opened.epoch(0)):
        if number == batches:
            break
        places = order[np.searchsorted(opened.ids[order], batch.ids)]
        if not np.array_equal(opened.ids[places], batch.ids) or len(places) > batch_size:
            return f"batch {number} has {len(places)} samples or unknown ones"
        if wrong := _wrong_layer(batch, places, cohort):
            return f"batch {number}: {wrong}"
        seen.append(places)
    found = np.concatenate(seen)
    if len(np.unique(found)) < len(found) or (batches < 0 and len(found) < cohort.samples):
        return f"{len(np.unique(found))} of {cohort.samples} samples came in {len(found)} places"
    if len(found) > 1 and (np.diff(found) > 0).all():
        return "the samples are not shuffled"
    return None


def _wrong_layer(batch: Delivered, places: Any, cohort: BenchCohort) -> str | None:
    for name, (values, rows) in batch.layers.items():
        held = rows.numpy()
        measured = cohort.measured[places, list(cohort.features).index(name)]
        if not np.array_equal(np.sort(held), np.flatnonzero(measured)):
            return f"layer '{name}' has rows of other samples"
        expected = cohort.values(name, places[held])
        # Bits, so that NaN equals NaN.
        same = np.array_equal(values.numpy().view(np.int32), expected.view(np.int32))
        if len(held) and not same:
            return f"layer '{name}' has other values than were written"
    return None


def _timed_epoch(task: Task, opened: Opened, number: int, held: float) -> dict[str, Any]:
    ids, value_bytes, batches, is_cut = [], 0, 0, False
    before, began = _io(), time.monotonic()
    for batch in opened.epoch(number):
        batches += 1
        ids.append(batch.ids)
        value_bytes += sum(4 * values.numel() for values, _ in batch.layers.values())
        del batch
        if task.seconds is not None and time.monotonic() - began > task.seconds:
            is_cut = True
            break
    ended, after = time.monotonic(), _io()
    samples = np.concatenate(ids)
    assert len(np.unique(samples)) == len(samples)
    assert is_cut or len(samples) == len(opened.ids)
    return {
        "began": began,
        "ended": ended,
        "bytes": value_bytes,
        "samples": len(samples),
        "batches": batches,
        "is_whole": not is_cut,
        "resident_before": held,
        **{name: after[name] - before[name] for name in before},
    }


def _timed_floor(task: Task, files: Sequence[Path]) -> dict[str, Any]:
    held = _prepare(task.state, files)
    number, is_kept = FLOORS[task.contender]
    size = cache.READ_BYTES
    if is_kept:
        size *= max(1, int(_KEPT_SHARE * task.memory_bytes) // size)
    before, began = _io(), time.monotonic()
    # Files are dealt by turns: they are of one size.
    threads = [
        threading.Thread(target=cache.read_through, args=(files[place::number], size))
        for place in range(1, number)
    ]
    for thread in threads:
        thread.start()
    cache.read_through(files[::number], size)
    for thread in threads:
        thread.join()
    ended, after = time.monotonic(), _io()
    return {
        "began": began,
        "ended": ended,
        "bytes": sum(path.stat().st_size for path in files),
        "samples": 0,
        "batches": 0,
        "is_whole": True,
        "resident_before": held,
        **{name: after[name] - before[name] for name in before},
    }


def _prepare(state: State, files: Sequence[Path]) -> float:
    """Bring the page cache into a state; gives the share of the files that is in it."""
    if state == "cold":
        cache.drop(files)
    elif cache.resident_share(files) < 1:
        cache.read_through(files)
    return cache.resident_share(files)


def _io() -> dict[str, int]:
    """Bytes this process asked for, and bytes that came from a disk for it."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    values = dict(line.split(": ") for line in lines)
    return {"rchar": int(values["rchar"]), "read_bytes": int(values["read_bytes"])}


def main() -> None:
    """Run the task that the command line names."""
    task = Task(**json.loads(sys.argv[1]))
    # Arrow's own allocator reserves addresses by the gigabyte, and the limit counts them.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    if not task.check:
        # Private memory only: mapped files are the system's to take back.
        resource.setrlimit(resource.RLIMIT_DATA, (task.memory_bytes, task.memory_bytes))
    print(json.dumps(run(task)))  # noqa: T201 - read by the process that started this one


if __name__ == "__main__":
    main()
