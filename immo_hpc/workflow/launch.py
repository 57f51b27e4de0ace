"""The same command as several processes of this machine that train together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO, Any

from immo_hpc.processes import signal_name, stopping_with

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
# After one process has ended badly the others end by themselves, unless they cannot.
_GRACE_S = 120.0
_POLL_S = 0.05
# Exit code of a verb that can be resumed (`immo_hpc.cli.main`).
_RESUMABLE = 3


def launch(words: Sequence[str], processes: int) -> int:
    """Run ``immo WORDS`` as ``processes`` processes and wait for them.

    The first one speaks for all; what another one says is shown if it failed by a fault of
    the program, or if the first one was killed. Signals to stop reach all of them.

    Args:
        words: Words of the command line after ``immo``.
        processes: How many.

    Returns:
        Exit code: 0 if all did; else that of a failure (1, 2), else 3, since killed
        processes can be resumed.
    """
    command = [sys.executable, "-m", "immo_hpc.cli", *words]
    environment = _environment(processes, os.environ)
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes)]
        relay = stack.enter_context(_Relay())
        for rank in range(processes):
            log = None if rank == 0 else logs[rank - 1]
            relay.add(_start(command, environment, rank, log))
        codes = _wait(relay.children)
        _show(codes, logs)
    return _code(codes)


class _Relay:
    """Hands signals to stop on to all children, and lets none outlive it."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        self._before: dict[signal.Signals, Any] = {}
        self._asked: int | None = None

    def __enter__(self) -> _Relay:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def add(self, child: subprocess.Popen[bytes]) -> None:
        self.children.append(child)
        if self._asked is not None:
            _send(child, self._asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        for child in self.children:
            _send(child, number)


def _send(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def _environment(processes: int, inherited: Mapping[str, str]) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    return {
        # Of a failure the processes themselves tell what there is to know.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "OMP_NUM_THREADS": str(max(1, cores // processes)),
        **inherited,
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _start(
    command: Sequence[str], environment: Mapping[str, str], rank: int, log: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        stdin=subprocess.DEVNULL,
        stdout=None if log is None else log,
        stderr=None if log is None else subprocess.STDOUT,
        # An interrupt typed at a terminal reaches them through this process alone.
        start_new_session=True,
        preexec_fn=stopping_with(os.getpid()),
    )


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Exit codes of all; those that do not end after another has failed are killed."""
    end = float("inf")
    while any(child.poll() is None for child in children):
        if end == float("inf") and any(child.poll() for child in children):
            end = time.monotonic() + _GRACE_S
        if time.monotonic() > end:
            for child in children:
                child.kill()
        time.sleep(_POLL_S)
    return [child.wait() for child in children]


def _show(codes: Sequence[int], logs: Sequence[IO[bytes]]) -> None:
    """Pass on what the silent processes said, where the first one cannot have said it."""
    for rank, (code, log) in enumerate(zip(codes[1:], logs, strict=True), start=1):
        log.seek(0)
        said = log.read().decode("utf-8", errors="replace")
        if code and (codes[0] < 0 or "Traceback" in said):
            sys.stderr.write(said)
        if code < 0:
            name = signal_name(code)
            sys.stderr.write(f"note: process {rank} of {len(codes)} was killed by {name}.\n")


def _code(codes: Sequence[int]) -> int:
    failed = [code for code in codes if code > 0 and code != _RESUMABLE]
    return failed[0] if failed else _RESUMABLE if any(codes) else 0
