"""Integration of incomplete multi-omics cohorts (the IMMO model).

``IMMO`` is the estimator; the command line is ``immo``. Heavy imports happen on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from immo_hpc._version import __version__

if TYPE_CHECKING:
    from immo_hpc.estimator import IMMO

__all__ = ["IMMO", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "IMMO":
        from immo_hpc.estimator import IMMO

        return IMMO
    message = f"module 'immo_hpc' has no attribute '{name}'"
    raise AttributeError(message)
