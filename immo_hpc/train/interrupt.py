"""Requests to stop: SIGINT, SIGTERM and Slurm's SIGUSR2 end training after a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StopRequest:
    """Remembers a signal to stop while the block runs, instead of acting on it.

    Handlers are set in the main thread only and put back at the end; in other threads
    nothing is caught. A signal that comes again changes nothing: the checkpoint that the
    first one asked for is on its way.

    Example:
        >>> with StopRequest() as stop:
        ...     signal.raise_signal(signal.SIGUSR2)
        ...     print(stop.name)
        SIGUSR2
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name
        # A request around this one hears of it too: a training that was just about to end
        # does not stop for it.
        outer = getattr(self._before.get(signal.Signals(number)), "__self__", None)
        if isinstance(outer, StopRequest):
            outer._note(number, frame)
