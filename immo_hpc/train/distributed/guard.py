"""Watching the other processes, so that one that ends or stands still ends all.

A process that waits for another inside the network library cannot be asked anything. A
thread beside it gives signs of life to the others and looks at theirs, through a connection
of its own to the store where the processes met. What a process says before it fails is told
in the same way.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any, NamedTuple

from immo_hpc.errors import InterruptedRun

# Exit codes of the command line: failed, and stopped but can be resumed.
_FAILED, _RESUMABLE = 1, 3
_FAILURE = "failure"


class Told(NamedTuple):
    """What a process said before it failed.

    Attributes:
        rank: The process.
        message: Its error.
        is_resumable: Whether the training can be gone on with as it is.
    """

    rank: int
    message: str
    is_resumable: bool


class Guard:
    """Gives signs of life, and ends this process if another gives none.

    Args:
        store: A connection to the processes' store (``torch.distributed.Store``) that nothing
            else uses.
        rank: Number of this process.
        world_size: Number of processes.
        lost_after_s: Silence after which a process counts as lost, seconds. Time during which
            this process itself stood still does not count.

    Attributes:
        told: What another process said before it failed; None so far.
    """

    def __init__(self, store: Any, rank: int, world_size: int, *, lost_after_s: float) -> None:
        self.told: Told | None = None
        self._store, self._rank, self._world_size = store, rank, world_size
        self._lost_after_s = lost_after_s
        self._beat_s = min(lost_after_s / 30, 0.5)
        self._over = threading.Event()
        self._heard = threading.Event()
        self._others = [other for other in range(world_size) if other != rank]
        self._thread = threading.Thread(target=self._watch, name="immo-guard", daemon=True)

    def start(self) -> None:
        """Begin; all processes must have called it before any waits for another."""
        self._store.set(f"beat/{self._rank}", "0")
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; the others have come to their ends too, or hear of ours otherwise."""
        self._over.set()
        self._thread.join()

    def tell(self, error: BaseException, wait_s: float = 5.0) -> None:
        """Tell the others why this process fails, and give them time to hear it.

        Of several that fail, the first one is heard.
        """
        message = str(error) or type(error).__name__
        said = json.dumps(Told(self._rank, message, isinstance(error, InterruptedRun)))
        try:
            self._store.set(f"heard/{self._rank}", "1")
            if self._store.compare_set(_FAILURE, "", said).decode() != said:
                return
            end = time.monotonic() + wait_s
            heard = [f"heard/{other}" for other in self._others]
            while not self._store.check(heard) and time.monotonic() < end:
                time.sleep(0.02)
        except RuntimeError:
            return  # The store is gone, and with it whoever kept it.

    def wait_told(self, wait_s: float = 3.0) -> Told | None:
        """What a process that is gone has said, if it said anything."""
        self._heard.wait(wait_s)
        return self.told

    def _watch(self) -> None:
        number, silence = 0, dict.fromkeys(self._others, 0.0)
        seen: dict[int, bytes] = {}
        before = time.monotonic()
        while not self._over.wait(self._beat_s):
            number += 1
            beats = self._look(number)
            now = time.monotonic()
            # A process that was stopped for a while has not been listening.
            elapsed, before = min(now - before, 4 * self._beat_s), now
            for place, other in enumerate(self._others):
                is_new = beats is not None and seen.get(other) != beats[place]
                silence[other] = 0.0 if is_new else silence[other] + elapsed
                if beats is not None:
                    seen[other] = beats[place]
            if self.told is not None:
                self._end_late()
                return
            lost = [other for other, silent_s in silence.items() if silent_s >= self._lost_after_s]
            if lost:
                self._end_now(_lost_message(lost, self._world_size, self._lost_after_s), _RESUMABLE)

    def _look(self, number: int) -> list[bytes] | None:
        """Give a sign of life and read those of the others; None if the store does not answer."""
        try:
            self._store.set(f"beat/{self._rank}", str(number))
            if self._store.check([_FAILURE]):
                told = Told(*json.loads(self._store.get(_FAILURE)))
                if told.rank != self._rank:
                    self.told = told
                    self._heard.set()
                    self._store.set(f"heard/{self._rank}", "1")
            beats: list[bytes] = self._store.multi_get([f"beat/{other}" for other in self._others])
        except RuntimeError:
            return None
        return beats

    def _end_late(self) -> None:
        """Leave the main thread a moment to end by itself, as it does once a connection breaks."""
        if self._over.wait(self._lost_after_s / 3) or self.told is None:
            return
        code = _RESUMABLE if self.told.is_resumable else _FAILED
        self._end_now(failure_message(self.told, self._world_size), code)

    def _end_now(self, message: str, code: int) -> None:
        # The main thread stands in a call that no exception reaches.
        sys.stderr.write(f"error: {message}\n")
        sys.stderr.flush()
        os._exit(code)


def failure_message(told: Told, world_size: int) -> str:
    """The failure of another process, as a sentence."""
    return f"process {told.rank} of {world_size} failed: {told.message}"


def _lost_message(lost: list[int], world_size: int, lost_after_s: float) -> str:
    named = ", ".join(map(str, lost))
    return (
        f"process {named} of {world_size} gave no sign of life for {lost_after_s:.0f} s; its "
        "machine may be lost. The training can be gone on with from its last checkpoint (--resume)."
    )
