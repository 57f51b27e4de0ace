"""Wide layers in feature blocks: the step, and a training, are those of the whole tensors."""

import pytest
import torch
from torch.testing import assert_close

from immo_hpc.config import LossConfig, MaskConfig, Schedule
from immo_hpc.data.batches import Batch, BatchSource, LayerBatch
from immo_hpc.nn import GradientPass, ImmoModel, wide
from immo_hpc.nn.gradient import DECODER
from immo_hpc.nn.shared import RowShare, SharedStacks
from immo_hpc.train import train
from immo_hpc.train.objective import Objective, layer_terms
from immo_kernels import LinearGradients


class Alone:
    """An exchange of one process."""

    def all_sum(self, buffer):
        return buffer

    def gathered(self, buffer):
        return buffer[None]


def doubled(batch):
    layers = {n: LayerBatch(part.values.double(), part.rows) for n, part in batch.layers.items()}
    return Batch(batch.sample_uid, layers)


def step(cohort, config, *, is_wide, shared=False, is_part=False):
    """Figures and gradients of one step in float64."""
    torch.manual_seed(0)
    features = {name: len(layer.features) for name, layer in cohort.layers.items()}
    model = ImmoModel(features, config.model).double()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    batch = doubled(next(BatchSource(cohort, batch_size=12, seed=1).epoch(0)))
    objective = Objective(layer_terms(cohort, config), config, 2, is_part)
    stacks = None
    if shared:
        stacks = SharedStacks(Alone())
        probe = Objective(objective.terms, config, 2).losses
        encoded = {}
        probe(
            lambda visible, size, rows: encoded.update(visible) or model(visible, size, rows), batch
        )
        stacks.shares = {
            model.place[n]: RowShare(len(rows), torch.arange(len(rows)))
            for n, (_, rows) in encoded.items()
        } | {DECODER: RowShare(batch.size, torch.arange(batch.size))}
        torch.manual_seed(0)
        model.load_state_dict(ImmoModel(features, config.model).double().state_dict())
    torch.manual_seed(3)
    forward = GradientPass(model, stacks, is_wide=lambda rows, width: is_wide)
    losses = objective.losses(forward, batch)
    assert all(isinstance(part.gradient, LinearGradients) is is_wide for part in losses.values())
    assert all((part.x_hat is None) is is_wide for part in losses.values())
    for part in losses.values():
        part.scale_gradient(torch.tensor(0.5))
    forward.backward({name: part.gradient for name, part in losses.items()})
    figures = {name: part[:3] for name, part in losses.items()}
    return figures, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("layer_p", [0.5, 1.0])
@pytest.mark.parametrize(
    ("scope", "normalizer"), [("observed", "scored"), ("kept", "size"), ("dropped", "scored")]
)
def test_a_step_in_blocks_is_the_step(
    cohort, new_config, scope, normalizer, layer_p, is_part, shared
):
    config = new_config().model_copy(
        update={
            "loss": LossConfig(scope=scope, normalizer=normalizer, weights={"mb": 2.0}),
            "mask": MaskConfig(values=Schedule(p0=0.6), layers=Schedule(p0=layer_p)),
        }
    )
    figures, gradients = step(cohort, config, is_wide=True, shared=shared, is_part=is_part)
    expected, whole = step(cohort, config, is_wide=False, shared=shared, is_part=is_part)
    assert_close(figures, expected, rtol=1e-12, atol=1e-14)
    assert_close(gradients, whole, rtol=1e-9, atol=1e-12)


def test_a_training_in_blocks_is_the_training(monkeypatch, cohort, new_config):
    expected = train(cohort, new_config())
    monkeypatch.setattr(wide, "WIDE_MIN", 0)
    found = train(cohort, new_config())
    for a, b in zip(found.records, expected.records, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=2e-5)
        assert a.validation == pytest.approx(b.validation, rel=2e-5)
    weights = dict(expected.model.state_dict())
    assert_close(dict(found.model.state_dict()), weights, rtol=1e-4, atol=1e-5)
    again = train(cohort, new_config())
    assert_close(dict(again.model.state_dict()), dict(found.model.state_dict()), rtol=0, atol=0)


def test_small_layers_are_worked_on_whole():
    assert not wide.is_wide(64, 10_000)
    assert wide.is_wide(4_096, 1_000_000)
