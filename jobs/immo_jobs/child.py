"""A command as a child process: requests to stop reach it once, and it does not outlive us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from immo_hpc.processes import stopping_with
from immo_jobs.begin import let_through

CANCELLED = "cancel"
_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
_POLL_S = 0.1


class StopRelay:
    """Takes Slurm's and other people's signals, and hands the first of them to the child.

    Slurm signals every process of a step, and Apptainer forwards a copy of its own, so
    one request arrives two or three times; only the first is remembered and passed on. One
    that came while the worker was still loading (`immo_jobs.begin`) is heard now.

    Attributes:
        name: What asked for the stop, such as ``SIGUSR2``; None if nothing did.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._is_told = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        let_through()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def requeue(self) -> Any:
        """The handler of USR2 that was there before: that of Submitit, in its jobs."""
        return self._before.get(signal.SIGUSR2)

    def cancel(self) -> None:
        """Ask the child to stop because the whole job is cancelled."""
        if self.name is None:
            self.name = CANCELLED
        self._pass_on()

    def watch(self, child: subprocess.Popen[bytes]) -> None:
        """Pass requests on to this child, one that came already too."""
        self._child, self._is_told = child, False
        if self.name is not None:
            self._pass_on()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.name is None:
            self.name = signal.Signals(number).name
        # An interrupt typed at a terminal has reached the child already.
        if number != signal.SIGINT:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._child is None or self._is_told:
            return
        self._is_told = True
        number = signal.SIGUSR2 if self.name == "SIGUSR2" else signal.SIGTERM
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(number)


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    relay: StopRelay,
    on_poll: Callable[[], None],
) -> int:
    """Run a command to its end.

    Args:
        command: Words to start.
        environment: The whole environment.
        log: File that its output is added to.
        relay: Passes requests to stop on to it.
        on_poll: Called some times a second meanwhile.

    Returns:
        The exit code; minus the signal's number if one ended it.

    Raises:
        OSError: If it cannot be started, or the log cannot be written.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            preexec_fn=stopping_with(os.getpid()),
        )
        relay.watch(child)
        try:
            while (code := child.poll()) is None:
                on_poll()
                time.sleep(_POLL_S)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    return code
