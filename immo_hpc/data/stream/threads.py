"""Tasks shared among threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def share(
    number: int,
    do: Callable[[int, T], None],
    workers: Sequence[T],
    is_stopped: Callable[[], bool],
) -> None:
    """Do tasks 0 to ``number`` - 1, each once, by as many threads as there are workers.

    Args:
        number: How many tasks.
        do: Does one, called with its number and the thread's worker.
        workers: What each thread works with; the calling thread has the first.
        is_stopped: Asked before each task whether to leave the rest.

    Raises:
        Exception: What the first of the failed tasks raised; after a failure no other is begun.

    Example:
        >>> share(3, lambda task, worker: worker.append(task), [done := []], lambda: False)
        >>> done
        [0, 1, 2]
    """
    turns = iter(range(number))
    lock = threading.Lock()
    errors: dict[int, Exception] = {}

    def work(worker: T) -> None:
        while not (is_stopped() or errors):
            with lock:
                task = next(turns, None)
            if task is None:
                return
            try:
                do(task, worker)
            except Exception as error:  # noqa: BLE001 - raised again in the calling thread
                errors[task] = error

    # Daemons, so that an interpreter that ends does not wait for them.
    threads = [
        threading.Thread(target=work, args=(worker,), name="immo-read", daemon=True)
        for worker in workers[1:]
    ]
    for thread in threads:
        thread.start()
    work(workers[0])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
