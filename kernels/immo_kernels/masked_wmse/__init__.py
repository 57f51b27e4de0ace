"""The weighted masked mean squared error (Eq. 7) with its gradient."""

from immo_kernels.masked_wmse.op import (
    MaskedWmse,
    masked_wmse,
    masked_wmse_and_gradient,
)

__all__ = ["MaskedWmse", "masked_wmse", "masked_wmse_and_gradient"]
