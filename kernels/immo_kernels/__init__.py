"""Ops of the IMMO model on a ``(sample, feature)`` tensor with missing values.

Masks are drawn from a counter, so none is stored; missing values are NaN in the data.
The package knows nothing of the rest of the project.
"""

from immo_kernels._outputs import release_memory
from immo_kernels.dynamic_mask import dynamic_mask, keep_values
from immo_kernels.keep_layers import keep_layers
from immo_kernels.linear_masked_wmse import (
    LinearGradients,
    linear_masked_wmse,
    linear_masked_wmse_and_gradients,
)
from immo_kernels.masked_linear import masked_linear, masked_linear_by_matrix
from immo_kernels.masked_wmse import (
    MaskedWmse,
    masked_wmse,
    masked_wmse_and_gradient,
)
from immo_kernels.stream import MASK_STREAM_VERSION, MaskStream

__all__ = [
    "MASK_STREAM_VERSION",
    "LinearGradients",
    "MaskStream",
    "MaskedWmse",
    "dynamic_mask",
    "keep_layers",
    "keep_values",
    "linear_masked_wmse",
    "linear_masked_wmse_and_gradients",
    "masked_linear",
    "masked_linear_by_matrix",
    "masked_wmse",
    "masked_wmse_and_gradient",
    "release_memory",
]
