"""Batches of samples for the model: per layer the measured rows, never a padded rectangle."""

from immo_hpc.data.batches.batch import Batch, LayerBatch, Source
from immo_hpc.data.batches.resident import BatchSource
from immo_hpc.data.batches.whole import whole

__all__ = ["Batch", "BatchSource", "LayerBatch", "Source", "whole"]
