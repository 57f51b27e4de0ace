import pytest
import torch
from torch import nn
from torch.testing import assert_close

from immo_hpc.config import TrainConfig
from immo_hpc.train.optimiser import FlatParameters, Optimiser


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 3), nn.SiLU(), nn.Linear(3, 1))


@pytest.mark.parametrize(("clip_norm", "weight_decay"), [(1e6, 0.0), (0.05, 0.0), (0.05, 0.1)])
def test_steps_are_those_of_torch_with_clipping(clip_norm, weight_decay):
    config = TrainConfig(
        learning_rate=0.01, lr_decay=0.5, clip_norm=clip_norm, weight_decay=weight_decay
    )
    ours, theirs = module(), module()
    optimiser = Optimiser(ours, config)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=weight_decay)
    decay = torch.optim.lr_scheduler.ExponentialLR(reference, 0.5)
    for epoch in range(4):
        optimiser.start_epoch(epoch)
        for _ in range(3):
            x = torch.randn(7, 5)
            ours.zero_grad(set_to_none=False)
            reference.zero_grad()
            for each in (ours, theirs):
                (each(x) - 1).square().sum().backward()
            expected = nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
            norm = optimiser.gradient_norm()
            optimiser.step(float(norm))
            reference.step()
            assert_close(norm, expected)
        decay.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_parameters_keep_their_values_and_become_views():
    before, flat_module = module(), module()
    flat = FlatParameters(flat_module)
    for old, new in zip(before.parameters(), flat_module.parameters(), strict=True):
        assert_close(new, old, rtol=0, atol=0)
        assert new.data_ptr() % 64 == flat.values.data_ptr() % 64
        assert new.untyped_storage().data_ptr() == flat.values.untyped_storage().data_ptr()
        assert new.grad.untyped_storage().data_ptr() == flat.gradient.untyped_storage().data_ptr()


def test_state_goes_on_where_it_was():
    x = torch.randn(7, 5)
    first, second = module(), module()
    optimisers = [Optimiser(first, TrainConfig()), Optimiser(second, TrainConfig())]

    def step(each, optimiser):
        each.zero_grad(set_to_none=False)
        each(x).sum().backward()
        optimiser.step(float(optimiser.gradient_norm()))

    step(first, optimisers[0])
    second.load_state_dict(first.state_dict())
    optimisers[1].load_state({k: v.clone() for k, v in optimisers[0].state().items()})
    for each, optimiser in zip((first, second), optimisers, strict=True):
        step(each, optimiser)
    assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=0)
