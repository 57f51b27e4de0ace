"""The dynamic mask on single values (Eqs. 2 and 3)."""

from immo_kernels.dynamic_mask.op import dynamic_mask, keep_values

__all__ = ["dynamic_mask", "keep_values"]
