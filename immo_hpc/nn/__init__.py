"""Modules and losses; nothing here touches files."""

from immo_hpc.nn.blocks import DenseBlock, DenseBlocks
from immo_hpc.nn.gradient import GradientPass
from immo_hpc.nn.model import ImmoModel, Part
from immo_hpc.nn.wide import LastLayer, MaskedRows

__all__ = [
    "DenseBlock",
    "DenseBlocks",
    "GradientPass",
    "ImmoModel",
    "LastLayer",
    "MaskedRows",
    "Part",
]
