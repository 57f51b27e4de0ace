"""Several workers of one machine: started, started again when killed, stopped together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from immo_hpc.errors import ImmoError, InterruptedRun
from immo_hpc.processes import signal_name, stop_with_parent
from immo_hpc.search.study import Ledger, Plan, StudyFolder
from immo_hpc.search.study.work import describe
from immo_hpc.train.interrupt import StopRequest

PARENT = "IMMO_TUNE_PARENT"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_POLL_S = 0.25
# A worker that is killed is replaced this often for each process asked for: one that dies
# of its trial gives it up before that.
_MOST_REPLACED = 20
_RESUMABLE = 3
_Child = tuple[subprocess.Popen[bytes], IO[bytes]]


def supervise(
    shards: Path,
    folder: StudyFolder,
    plan: Plan,
    count: int,
    hours: float | None,
    say: Callable[[str], None],
) -> bool:
    """Keep ``count`` workers at work until the study is finished; True if it is.

    Raises:
        InterruptedRun: If this process is asked to stop; the workers wrote checkpoints.
        ImmoError: If a worker fails, with its message; the others are stopped.
    """
    deadline = None if hours is None else time.monotonic() + 3600 * hours
    replaced = 0
    ledger = Ledger(folder.trials)
    ledger.sync()
    said = set(ledger.results)
    with StopRequest() as stop:
        children = [_start(shards, folder, deadline) for _ in range(count)]
        try:
            while children:
                for child in [*children]:
                    code = child[0].poll()
                    if code is None:
                        continue
                    children.remove(child)
                    is_killed = code < 0 and stop.name is None
                    if is_killed and replaced < _MOST_REPLACED * count:
                        replaced += 1
                        say(f"a worker was ended by {signal_name(code)}; another takes its place")
                        children.append(_start(shards, folder, deadline))
                    elif code not in (0, _RESUMABLE) and stop.name is None:
                        raise ImmoError(f"a worker failed: {_reason(child[1], code)}")  # noqa: EM102
                if stop.name is not None:
                    _stop(children)
                said |= _tell(ledger, said, plan, say)
                time.sleep(_POLL_S)
        finally:
            _stop(children)
            for process, _ in children:
                process.wait()
    if stop.name is not None:
        message = f"{folder.path}: stopped on {stop.name}; the same command goes on."
        raise InterruptedRun(message)
    return deadline is None or time.monotonic() < deadline


def is_further_worker() -> bool:
    """True if this process is one of those that `supervise` starts."""
    return PARENT in os.environ


def end_with_parent() -> None:
    """Have this process, if it is such a worker, asked to stop when its parent is gone."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if not stop_with_parent(int(parent)):
        message = f"process {parent}, which started this worker, is gone."
        raise InterruptedRun(message)


def _start(shards: Path, folder: StudyFolder, deadline: float | None) -> _Child:
    words = ["tune", str(shards), str(folder.path), "--join"]
    if deadline is not None:
        words += ["--hours", f"{max(0.0, deadline - time.monotonic()) / 3600:.6f}"]
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
    process = subprocess.Popen(
        [sys.executable, "-m", "immo_hpc.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env={**_ONE_THREAD, **os.environ, PARENT: str(os.getpid())},
    )
    return process, said


def _stop(children: list[_Child]) -> None:
    for process, _ in children:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()


def _tell(ledger: Ledger, said: set[str], plan: Plan, say: Callable[[str], None]) -> set[str]:
    ledger.sync()
    new = sorted(set(ledger.results) - said)
    for name in new:
        say(describe(name, ledger.results[name], plan))
    return set(new)


def _reason(said: IO[bytes], code: int) -> str:
    """The message a process ended with."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if told:
        return told[-1]
    return lines[-1] if lines and code > 0 else f"it was ended by {signal_name(code)}"
