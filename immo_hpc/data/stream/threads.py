"""A crew of threads that do tasks in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

T = TypeVar("T")
Task = Callable[[T], None]


class Crew(Generic[T]):
    """Threads that do tasks in the order in which they were given.

    A context manager: on leaving it no task is running, and those not yet begun are left.

    Args:
        workers: What each thread works with; so many threads there are.

    Example:
        >>> with Crew([done := []]) as crew:
        ...     wait(crew.give([lambda worker: worker.append(1), lambda worker: worker.append(2)]))
        >>> done
        [1, 2]
    """

    def __init__(self, workers: Sequence[T]) -> None:
        self._tasks: SimpleQueue[tuple[Task[T], Future[None]] | None] = SimpleQueue()
        self._is_over = threading.Event()
        # Daemons, so that an interpreter that ends does not wait for them.
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name="immo-read", daemon=True)
            for worker in workers
        ]

    @property
    def size(self) -> int:
        """How many threads."""
        return len(self._threads)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for _thread in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def give(self, tasks: Iterable[Task[T]]) -> list[Future[None]]:
        """Tasks to do, each once, by any of the threads; for `wait`."""
        given = []
        for task in tasks:
            given.append(Future[None]())
            self._tasks.put((task, given[-1]))
        return given

    def _work(self, worker: T) -> None:
        while (item := self._tasks.get()) is not None and not self._is_over.is_set():
            task, future = item
            failure = None
            try:
                task(worker)
            except Exception as error:  # noqa: BLE001 - raised again where it is waited for
                failure = error
            # What the task holds is let go of before anybody hears that it is done.
            del item, task
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
            del future, failure


def wait(given: Iterable[Future[None]]) -> None:
    """Until all of these tasks are done.

    Raises:
        Exception: What the first of those that failed raised.
    """
    for future in given:
        future.result()
