"""The model with scikit-learn habits."""

from immo_hpc.estimator.immo import IMMO

__all__ = ["IMMO"]
