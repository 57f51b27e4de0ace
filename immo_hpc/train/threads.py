"""One thread for many small matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from immo_hpc.train.device import threads


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch, BLAS and OpenMP to one thread for the duration; also a decorator.

    What follows a training works on thousands of small matrices of some hundred people. A
    second thread gains little there, and where another process holds the second core it is
    waited for at every matrix: explaining the run of the simulated cohort took 145 s instead
    of 7 (2 cores, 2026-11-20).
    """
    # Threads can be held only of a library that is there.
    import scipy.linalg  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threads(1), threadpool_limits(1):
        yield
