"""A linear map and the masked loss of its result, which never exists as a whole (Eqs. 6 and 7)."""

from immo_kernels.linear_masked_wmse.blocked import LinearGradients
from immo_kernels.linear_masked_wmse.op import linear_masked_wmse, linear_masked_wmse_and_gradients

__all__ = ["LinearGradients", "linear_masked_wmse", "linear_masked_wmse_and_gradients"]
