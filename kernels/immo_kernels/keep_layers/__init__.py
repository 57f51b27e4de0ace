"""Which measured layers of a sample stay shown to the encoder."""

from immo_kernels.keep_layers.op import keep_layers

__all__ = ["keep_layers"]
