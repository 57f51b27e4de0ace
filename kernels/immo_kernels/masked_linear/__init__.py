"""A linear map of masked data, of which no masked copy exists (Eqs. 2 to 4)."""

from immo_kernels.masked_linear.op import masked_linear, masked_linear_by_matrix

__all__ = ["masked_linear", "masked_linear_by_matrix"]
