"""A cohort whose first feature of each layer carries the label, and its two explained scores."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from immo_hpc.config import ModelConfig
from immo_hpc.inference import forward
from immo_hpc.nn import ImmoModel


@dataclass
class Network:
    """An encoder with weights as drawn: random features keep what is large in the input."""

    model: ImmoModel

    def embed(self, cohort):
        return forward.embed(self.model, cohort)


@pytest.fixture(scope="session")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = ModelConfig(latent_dim=24, encoder_dims=(64,), decoder_dims=(8,), dropout=0)
        return Network(ImmoModel({"a": 30, "b": 20}, config))


@pytest.fixture
def planted(make_cohort):
    """Sixty people with three visits; a0 and b0 shift by five standard deviations."""
    return make_cohort(signal=5.0, features=(30, 20), num_subjects=60)


@pytest.fixture
def drop_values():
    """Makes some values of a cohort missing."""

    def dropped(cohort, share=0.1, seed=0):
        generator = np.random.default_rng(seed)
        for layer in cohort.layers.values():
            layer.values[generator.random(layer.values.shape) < share] = np.nan
        return cohort

    return dropped
