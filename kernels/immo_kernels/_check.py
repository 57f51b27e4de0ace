"""Checks of arguments, shared by the ops: ValueError with names and shapes, before any work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from immo_kernels.philox import MAX_FEATURES


def check_matrix(op: str, name: str, x: Tensor) -> None:
    """``x`` is a floating ``(sample, feature)`` tensor."""
    if x.dim() != 2 or not x.is_floating_point():
        message = (
            f"{op}: {name} must be a floating (sample, feature) tensor, "
            f"got shape {tuple(x.shape)}, {x.dtype}."
        )
        raise ValueError(message)


def check_uid(op: str, sample_uid: Tensor, num_samples: int, device: torch.device) -> None:
    """``sample_uid`` is an int64 ``(sample,)`` tensor on the device of the data."""
    if (
        sample_uid.dim() != 1
        or sample_uid.shape[0] != num_samples
        or sample_uid.dtype != torch.int64
        or sample_uid.device != device
    ):
        message = (
            f"{op}: sample_uid must be ({num_samples},), torch.int64, on {device}, got shape "
            f"{tuple(sample_uid.shape)}, {sample_uid.dtype}, on {sample_uid.device}."
        )
        raise ValueError(message)


def check_table(
    op: str,
    name: str,
    table: Tensor | None,
    num_samples: int,
    num_layers: int,
    device: torch.device,
) -> None:
    """``table`` is None or a bool ``(sample, layer)`` tensor on the device of the data."""
    if table is not None and (
        table.dim() != 2
        or table.shape[0] != num_samples
        or table.shape[1] != num_layers
        or table.dtype != torch.bool
        or table.device != device
    ):
        message = (
            f"{op}: {name} must be (sample, layer) = ({num_samples}, {num_layers}), torch.bool, "
            f"on {device}, got shape {tuple(table.shape)}, {table.dtype}, on {table.device}."
        )
        raise ValueError(message)


def checked_segments(
    op: str, segments: Sequence[int] | None, num_features: int, first_feature: int
) -> list[int]:
    """Bounds of the layers: from 0 to ``num_features``, never falling."""
    if first_feature < 0 or first_feature + num_features > MAX_FEATURES:
        message = (
            f"{op}: features must lie in 0 to 2**34, got first_feature {first_feature} "
            f"with {num_features} features."
        )
        raise ValueError(message)
    if segments is None:
        return [0, num_features]
    bounds = [int(bound) for bound in segments]
    if (
        len(bounds) < 2
        or bounds[0] != 0
        or bounds[-1] != num_features
        or any(low > high for low, high in itertools.pairwise(bounds))
    ):
        message = (
            f"{op}: segments must rise from 0 to the number of features, {num_features}, "
            f"without overlap, got {bounds}."
        )
        raise ValueError(message)
    return bounds


def checked_layer_values(
    op: str, name: str, values: float | Sequence[float], num_layers: int
) -> list[float]:
    """One finite number >= 0 a layer; a single number stands for all layers."""
    if isinstance(values, (int, float)):
        numbers = [float(values)] * num_layers
    else:
        numbers = [float(value) for value in values]
    if len(numbers) != num_layers:
        message = f"{op}: {name} must hold one number for each of {num_layers} layers, got {values}"
        raise ValueError(message)
    for number in numbers:
        if not 0 <= number < math.inf:
            message = f"{op}: {name} must be finite and >= 0, got {values}."
            raise ValueError(message)
    return numbers


def checked_thresholds(
    op: str, keep_probability: float | Sequence[float], num_layers: int, bits: int
) -> list[int]:
    """Each layer's threshold of the draw, round(p * 2**bits), halves to even."""
    probabilities = checked_layer_values(op, "keep_probability", keep_probability, num_layers)
    scale = float(1 << bits)
    for probability in probabilities:
        if probability > 1:
            message = f"{op}: keep_probability must be within [0, 1], got {keep_probability}."
            raise ValueError(message)
    return [round(probability * scale) for probability in probabilities]
