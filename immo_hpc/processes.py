"""Child processes: none outlives who started it, and how one ended can be said."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def stop_with_parent(parent: int) -> bool:
    """Have this process sent SIGTERM when ``parent`` is gone, killed or not.

    Where the system has no ``prctl`` (it is Linux's) nothing is arranged.

    Args:
        parent: Process that started this one.

    Returns:
        False if ``parent`` is gone already.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
    return os.getppid() == parent


def stopping_with(parent: int) -> Callable[[], None]:
    """`stop_with_parent` as the ``preexec_fn`` of `subprocess.Popen`."""

    def arrange() -> None:
        if not stop_with_parent(parent):
            os._exit(1)

    return arrange


def signal_name(code: int) -> str:
    """Name of the signal that ended a process of exit code ``code``, which is below 0.

    Example:
        >>> signal_name(-9)
        'SIGKILL'
    """
    number = -code
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
