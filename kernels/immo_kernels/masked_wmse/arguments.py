"""Checks of what the losses share: which values are scored, and how layers are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from immo_kernels._check import (
    check_table,
    check_uid,
    checked_layer_values,
    checked_segments,
    checked_thresholds,
)
from immo_kernels.stream import MaskStream

Scope = Literal["observed", "kept", "dropped"]
_SCOPES = ("observed", "kept", "dropped")


def checked_scoring(
    op: str,
    x: Tensor,
    sample_uid: Tensor,
    weight: float | Sequence[float],
    keep_probability: float | Sequence[float],
    stream: MaskStream,
    scope: Scope,
    normalizer: float | Sequence[float] | None,
    segments: Sequence[int] | None,
    first_feature: int,
    measured: Tensor | None,
    shown: Tensor | None,
) -> tuple[Sequence[int], tuple[Any, ...]]:
    """Bounds of the segments, and the arguments of a path from ``x`` to ``shown``.

    Raises:
        ValueError: For anything `immo_kernels.masked_wmse` refuses, in the name of ``op``.
    """
    if scope not in _SCOPES:
        message = f"{op}: scope must be one of {', '.join(_SCOPES)}, got {scope!r}."
        raise ValueError(message)
    num_samples, num_features = x.shape
    bounds = checked_segments(op, segments, num_features, first_feature)
    num_layers = len(bounds) - 1
    check_uid(op, sample_uid, num_samples, x.device)
    check_table(op, "measured", measured, num_samples, num_layers, x.device)
    check_table(op, "shown", shown, num_samples, num_layers, x.device)
    return bounds, (
        x,
        sample_uid,
        checked_layer_values(op, "weight", weight, num_layers),
        checked_thresholds(op, keep_probability, num_layers, bits=16),
        stream.seed,
        stream.epoch,
        scope,
        None
        if normalizer is None
        else checked_layer_values(op, "normalizer", normalizer, num_layers),
        bounds,
        first_feature,
        measured,
        shown,
    )
