"""Further processes of one command, which share its work folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from immo_hpc.errors import ImmoError

_PARENT = "IMMO_PREPARE_PARENT"
# How long a process that is told to end may take over it.
_END_S = 10.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Workers:
    """The further processes.

    Attributes:
        processes: The processes, each with the file of what it says on stderr.
        lost: Sentences about processes that were killed; their work is done by the others.
    """

    processes: list[tuple[subprocess.Popen[bytes], IO[bytes]]]
    lost: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Tell of processes that ended before their time.

        Raises:
            ImmoError: If one failed, with its message; or, in a further process itself, if
                the command that started it is gone.
        """
        parent = os.environ.get(_PARENT)
        if parent is not None and int(parent) != os.getppid():
            message = f"process {parent}, which started this worker, is gone."
            raise ImmoError(message)
        for process, said in [*self.processes]:
            code = process.poll()
            if code is None or code == 0:
                continue
            self.processes.remove((process, said))
            with said:
                if code > 0:
                    message = f"a worker failed: {_reason(said)}"
                    raise ImmoError(message)
            self.lost.append(
                f"a worker was ended by {signal.Signals(-code).name}; the others did its work."
            )

    def end(self) -> None:
        """End those that still run; they leave nothing that the next command cannot use."""
        for process, _ in self.processes:
            process.terminate()
        for process, said in self.processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            said.close()
        self.processes.clear()


@contextmanager
def further_workers(arguments: Sequence[str], count: int) -> Iterator[Workers]:
    """Start ``immo`` with ``arguments`` ``count`` times; what still runs at the end is ended."""
    workers = Workers([])
    try:
        for _ in range(count):
            said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its process
            process = subprocess.Popen(
                [sys.executable, "-m", "immo_hpc.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, **_ONE_THREAD, _PARENT: str(os.getpid())},
            )
            workers.processes.append((process, said))
        yield workers
    finally:
        with contextlib.suppress(ProcessLookupError):
            workers.end()


def _reason(said: IO[bytes]) -> str:
    """The message a process ended with."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (told or lines or ["it said nothing."])[-1]
