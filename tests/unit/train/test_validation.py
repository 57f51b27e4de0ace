"""The held-out error against a plain computation, and what it must not depend on."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from immo_hpc.config import MaskConfig, ModelConfig, Schedule
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.nn import ImmoModel
from immo_hpc.train import HeldOut, HeldOutError, train
from immo_kernels import MaskStream, keep_values

CPU = torch.device("cpu")


@pytest.fixture
def model(cohort):
    torch.manual_seed(0)
    features = {name: len(layer.features) for name, layer in cohort.layers.items()}
    return ImmoModel(features, ModelConfig(latent_dim=4, encoder_dims=(6,), decoder_dims=(5,)))


def embed_one(model, shown):
    batch = {
        name: (torch.tensor(np.nan_to_num(v))[None], torch.tensor([0])) for name, v in shown.items()
    }
    return model.encode(batch, 1)


def expected_error(model, cohort: PreparedCohort, index):
    """One sample and one layer at a time."""
    model.eval()
    uid = torch.from_numpy(cohort.sample_uid)
    stream = MaskStream(seed=20_261_120, epoch=0)
    values = {name: [] for name in cohort.layers}
    layers = {name: [] for name in cohort.layers}
    for sample in index:
        own, kept, first = {}, {}, 0
        for name, layer in cohort.layers.items():
            width = len(layer.features)
            (place,) = np.nonzero(layer.rows == sample)
            if len(place):
                own[name] = layer.values[place[0]]
                kept[name] = keep_values(
                    uid[[sample]], width, keep_probability=0.75, stream=stream, first_feature=first
                )[0].numpy()
            first += width
        latent = embed_one(model, {n: np.where(kept[n], v, 0).astype("f4") for n, v in own.items()})
        for name, x in own.items():
            error = model.decode(latent, {name: None})[name][0].numpy() - x
            values[name].extend(error[~kept[name] & ~np.isnan(x)] ** 2)
            if len(own) > 1:
                others = embed_one(model, {n: v for n, v in own.items() if n != name})
                error = model.decode(others, {name: None})[name][0].numpy() - x
                layers[name].extend(error[~np.isnan(x)] ** 2)
    return (
        {name: float(np.mean(e)) if e else None for name, e in values.items()},
        {name: float(np.mean(e)) if e else None for name, e in layers.items()},
    )


@torch.no_grad()
def test_errors_are_those_of_hidden_values_and_hidden_layers(cohort, model):
    index = cohort.indices("validation", "test")
    values, layers = expected_error(model, cohort, index)
    for batch_size in (1024, 4):
        measured = HeldOut(cohort, index, CPU, batch_size).measure(model.train())
        assert model.training
        assert measured.values == pytest.approx(values, rel=1e-4)
        assert measured.layers == pytest.approx(layers, rel=1e-4)
    pairs = [np.mean([v for v in pair if v is not None])
             for pair in zip(values.values(), layers.values(), strict=True)]  # fmt: skip
    assert measured.error == pytest.approx(np.mean(pairs), rel=1e-4)


def test_mean_over_what_exists():
    error = HeldOutError({"a": 1.0, "b": 2.0, "c": None}, {"a": 3.0, "b": None, "c": None})
    assert error.error == pytest.approx((2.0 + 2.0) / 2)
    assert HeldOutError({"a": None}, {"a": None}).error is None


def test_measuring_draws_nothing_and_changes_nothing(cohort, model):
    held_out = HeldOut(cohort, cohort.indices("validation"), CPU)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    held_out.measure(model)
    assert_close(torch.get_rng_state(), random, rtol=0, atol=0)
    assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_training_does_not_depend_on_who_is_held_out(cohort, new_config):
    """Held-out samples decide when to stop and which weights are best, nothing else."""
    config = new_config(epochs=3).model_copy(update={"mask": MaskConfig(layers=Schedule(p0=0.6))})
    losses = []
    for side in ("validation", "test"):
        split = np.where(cohort.split == "validation", side, cohort.split)
        records = train(_with_split(cohort, split), config).records
        losses.append([record.loss for record in records])
    assert losses[0] == losses[1]


def _with_split(cohort, split):
    return PreparedCohort(cohort.samples, cohort.layers, cohort.roles, split)
