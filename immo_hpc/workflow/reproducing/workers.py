"""Processes that make the parts together, one thread each."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from immo_hpc.errors import ImmoError
from immo_hpc.processes import signal_name, stop_with_parent
from immo_hpc.work import WorkFolder
from immo_hpc.workflow.reproducing.job import ReproduceJob, read_json

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_POLL_S = 0.2
_REASON = "failed.json"


def make_parts(job: ReproduceJob, workers: int, say: Callable[[str], None]) -> None:
    """Make all parts that are not there, ``workers`` processes at a time.

    Raises:
        ImmoError: If a process fails or is killed; what is made stays.
    """
    names = job.part_names()
    left = sum(not (job.work / name).exists() for name in names)
    if not left:
        return
    (job.work / _REASON).unlink(missing_ok=True)
    began = time.monotonic()
    with _one_thread():
        running = [_start(job) for _ in range(min(workers, left))]
    told: set[str] = {name for name in names if (job.work / name).exists()}
    try:
        while running:
            running = [process for process in running if not _has_ended(process, job)]
            for name in names:
                if name not in told and (job.work / name).exists():
                    told.add(name)
                    seconds = time.monotonic() - began
                    say(f"{len(told)} of {len(names)} parts, {seconds:.0f} s: {Path(name).stem}")
            time.sleep(_POLL_S)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def work(job: ReproduceJob, parent: int) -> None:
    """Make parts until all are there; the body of a process."""
    from threadpoolctl import threadpool_limits

    if not stop_with_parent(parent):
        sys.exit(1)
    cohort = job.read()

    def make(name: str, temporary: Path) -> None:
        began, before = time.monotonic(), time.process_time()
        found: dict[str, Any] = job.make(name, cohort)
        found["seconds"] = round(time.monotonic() - began, 2)
        found["cpu_seconds"] = round(time.process_time() - before, 2)
        temporary.write_text(json.dumps(_finite(found), allow_nan=False), encoding="utf-8")

    try:
        with threadpool_limits(1):
            WorkFolder(job.work).do_all(job.part_names(), make)
    except ImmoError as error:
        notes = [*getattr(error, "__notes__", [])]
        reason = " ".join([str(error), *notes])
        (job.work / _REASON).write_text(json.dumps({"reason": reason}), encoding="utf-8")
        sys.exit(1)


def _finite(value: Any) -> Any:
    from immo_hpc.analysis.jsonable import jsonable

    return jsonable(value)


def _start(job: ReproduceJob) -> BaseProcess:
    # Spawned, not forked: a fork would begin with the threads of this process.
    process = get_context("spawn").Process(target=work, args=(job, os.getpid()), daemon=False)
    process.start()
    return process


def _has_ended(process: BaseProcess, job: ReproduceJob) -> bool:
    """True once it has done its share.

    Raises:
        ImmoError: If it was ended before.
    """
    if process.is_alive():
        return False
    code = process.exitcode or 0
    if code == 0:
        return True
    found = read_json(job.work / _REASON)
    ended = f"ended by {signal_name(code)}" if code < 0 else f"ended with exit code {code}"
    reason = found["reason"] if found else f"a process was {ended}; see what it said above"
    message = f"{reason} Parts that are made stay: repeat the command to go on."
    raise ImmoError(message)


@contextmanager
def _one_thread() -> Iterator[None]:
    """What processes started here read when they import numerical libraries."""
    old = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
