"""Functions compiled by numba, kept on disk where that can be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any], signature: str, **options: Any) -> Callable[..., Any]:
    """Compile ``function`` for one signature, from numba's on-disk cache where there is one.

    The cache stands beside the source, or in ``NUMBA_CACHE_DIR``, or in the user's cache
    folder. Where none can be written the function is compiled in every process, with a warning.
    """
    try:
        return numba.njit(signature, cache=True, nogil=True, **options)(function)  # type: ignore[no-any-return]
    except (RuntimeError, OSError) as error:
        # numba raises a bare RuntimeError where it finds no folder to write to.
        if isinstance(error, RuntimeError) and "cannot cache function" not in str(error):
            raise
        message = (
            f"compiled code of {function.__module__} cannot be kept ({error}); it is compiled in "
            "every process. Set NUMBA_CACHE_DIR to a folder that can be written."
        )
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return numba.njit(signature, nogil=True, **options)(function)  # type: ignore[no-any-return]
