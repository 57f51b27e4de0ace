"""One method in a process of its own, so that its memory is its own and its end nobody else's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from immo_hpc.analysis.compare.measure import measure
from immo_hpc.analysis.compare.registry import CONTENDERS
from immo_hpc.analysis.compare.trial import make_trial
from immo_hpc.errors import ImmoError
from immo_hpc.files import write_text
from immo_hpc.work import WorkFolder
from immo_hpc.workflow.comparing.job import CompareJob

# What numerical code raises when data do not suit it; anything else is a mistake of ours.
_FAILURES = (ImmoError, ValueError, ArithmeticError, RuntimeError, IndexError, MemoryError)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_method(job: CompareJob, method: str) -> None:
    """Answer everything that a method is asked and that no other process has answered."""
    cohort = job.read()
    asked = {answer.file: answer for answer in job.answers(method)}
    before: list[float | None] = []

    def answer(name: str, temporary: Path) -> None:
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            sys.exit(1)  # Killed: nobody waits for the rest.
        one = asked[name]
        trial = make_trial(cohort, job.settings(one.split), one.missing, visits=job.visits)
        if not before:
            before.append(memory_mb("VmRSS"))
        try:
            said = measure(CONTENDERS[method], trial, job.tasks)
        except _FAILURES as error:
            said = {"failed": _reason(error)}
        temporary.write_text(json.dumps({**said, "peak_mb": _above(before[0])}, allow_nan=False))

    WorkFolder(job.work).do_all(list(asked), answer)


def run_methods(job: CompareJob, methods: Sequence[str], workers: int) -> Iterator[str]:
    """Run each method in a process of its own, ``workers`` at a time; names as they end.

    A method that has nothing left to answer is not started.
    """
    waiting, running = [name for name in methods if _is_asked(job, name)], dict[str, BaseProcess]()
    with _threads(workers):
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    name = waiting.pop(0)
                    running[name] = _start(job, name)
                for name, process in [*running.items()]:
                    process.join(0.05)
                    if not process.is_alive():
                        del running[name]
                        _note_end(job, name, process.exitcode)
                        yield name
        finally:
            for process in running.values():
                process.terminate()


def memory_mb(field: str) -> float | None:
    """A line of this process's status, 10^6 bytes; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024 / 1e6


def _is_asked(job: CompareJob, name: str) -> bool:
    return any(not (job.work / answer.file).exists() for answer in job.answers(name))


def _start(job: CompareJob, name: str) -> BaseProcess:
    # Spawned, not forked: a fork would begin with the memory and the threads of this process.
    process = get_context("spawn").Process(target=run_method, args=(job, name), daemon=True)
    process.start()
    return process


def _note_end(job: CompareJob, name: str, code: int | None) -> None:
    """Where a process was ended before its time, say so in the answers it owes."""
    if code == 0:
        return
    told = f"ended by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
    for answer in job.answers(name):
        path = job.work / answer.file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"failed": f"its process {told}"}))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _above(before: float | None) -> float | None:
    peak = memory_mb("VmHWM")
    return None if peak is None or before is None else max(peak - before, 0.0)


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """Where several run side by side, each gets one thread."""
    old: dict[str, Any] = {name: os.environ.get(name) for name in _THREADS}
    try:
        if workers > 1:
            os.environ.update(dict.fromkeys(_THREADS, "1"))
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
