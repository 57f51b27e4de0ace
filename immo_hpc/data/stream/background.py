"""An iterator run ahead of its reader in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Makes items in a thread: the first at once, each other one when it is asked for.

    A context manager: on leaving it the thread has ended. An exception of the iterator is
    raised where the items are taken.

    Args:
        items: Called in the thread with a function that tells whether to stop early.
    """

    def __init__(self, items: Callable[[Callable[[], bool]], Iterator[T]]) -> None:
        self._items = items
        self._allowed = threading.Semaphore(1)
        self._stop = threading.Event()
        self._made: SimpleQueue[tuple[T] | Exception | None] = SimpleQueue()
        # A daemon: an interpreter that ends while a batch is open does not wait for it.
        self._thread = threading.Thread(target=self._run, name="immo-stream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._allowed.release()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while (made := self._made.get()) is not None:
            if isinstance(made, Exception):
                raise made
            yield made[0]
            del made

    def release(self) -> None:
        """Ask for one more item; it is made meanwhile."""
        self._allowed.release()

    def _run(self) -> None:
        try:
            items = self._items(self._stop.is_set)
            while True:
                self._allowed.acquire()
                if self._stop.is_set():
                    return
                made = next(items, None)
                self._made.put(None if made is None else (made,))
                if made is None:
                    return
                del made
        except Exception as error:  # noqa: BLE001 - raised again where items are taken
            self._made.put(error)
