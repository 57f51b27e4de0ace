"""The trained network applied to prepared samples, batch by batch.

Everything runs in evaluation mode and without gradients: batch normalisation uses the
statistics of the training, dropout and masks are off, so a sample's result depends on
that sample alone. Missing values enter the encoder as 0, the training mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.data.batches import Batch, whole
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.nn import ImmoModel

BATCH_SIZE = 1024


def device_of(model: ImmoModel) -> torch.device:
    """Device of the model's weights."""
    return next(model.parameters()).device


@torch.inference_mode()
def embed(model: ImmoModel, cohort: PreparedCohort) -> NDArray[np.float32]:
    """Latent of every sample, ``(sample, latent)``, float32."""
    result = np.empty((len(cohort.samples), model.config.latent_dim), dtype=np.float32)
    for place, batch in _batches(model, cohort):
        result[place] = _encode(model, batch).cpu().numpy()
    return result


@torch.inference_mode()
def reconstruct(
    model: ImmoModel, cohort: PreparedCohort, layers: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """The named layers for every sample, by name ``(sample, feature)``, float32, z-scores."""
    num_samples = len(cohort.samples)
    result = {
        name: np.empty((num_samples, len(cohort.layers[name].features)), dtype=np.float32)
        for name in layers
    }
    for place, batch in _batches(model, cohort):
        decoded = model.decode(_encode(model, batch), dict.fromkeys(layers))
        for name, x_hat in decoded.items():
            result[name][place] = x_hat.cpu().numpy()
    return result


def _batches(model: ImmoModel, cohort: PreparedCohort) -> Iterator[tuple[slice, Batch]]:
    """Batches in order, on the model's device, and their places among the samples."""
    model.eval()
    if not len(cohort.samples):
        return
    start = 0
    for batch in whole(cohort, batch_size=BATCH_SIZE, device=device_of(model)):
        yield slice(start, start + batch.size), batch
        start += batch.size


def _encode(model: ImmoModel, batch: Batch) -> Tensor:
    shown = {
        name: (torch.where(layer.values.isnan(), 0.0, layer.values), layer.rows)
        for name, layer in batch.layers.items()
    }
    return model.encode(shown, batch.size)
