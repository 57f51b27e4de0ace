"""The written-out gradient against autograd, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from immo_hpc.config import ModelConfig
from immo_hpc.nn import GradientPass, ImmoModel

FEATURES = {"mg": 4, "mt": 1, "mb": 6}


def make_model(config):
    torch.manual_seed(0)
    model = ImmoModel(FEATURES, config).double()
    for parameter in model.parameters():
        # What a step before has left must not stay.
        parameter.grad = torch.full_like(parameter, torch.nan)
    return model


def make_batch(visible):
    torch.manual_seed(1)
    return {
        name: (
            torch.randn(len(places), FEATURES[name], dtype=torch.float64),
            torch.tensor(places, dtype=torch.int64),
        )
        for name, places in visible.items()
    }


def results(model, forward, batch, size, rows, upstream):
    """Reconstruction, gradients and statistics of one pass from the same start."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(2)
    if isinstance(forward, GradientPass):
        x_hat = forward(batch, size, rows)
        forward.backward(upstream)
    else:
        model.zero_grad()
        x_hat = forward(batch, size, rows)
        torch.autograd.backward(list(x_hat.values()), list(upstream.values()))
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.load_state_dict(state)
    return {name: x.detach() for name, x in x_hat.items()}, gradients, buffers


def assert_gradient(config, measured, visible, size):
    model = make_model(config)
    batch = make_batch(visible)
    rows = {name: torch.tensor(places) for name, places in measured.items() if places}
    upstream = {
        name: torch.randn(len(places), FEATURES[name], dtype=torch.float64)
        for name, places in rows.items()
    }
    written = results(model, GradientPass(model), batch, size, rows, upstream)
    derived = results(model, model, batch, size, rows, upstream)
    assert_close(written, derived, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("dims", [((5,), (7,)), ((5, 3), (4, 6, 2))])
def test_gradient_is_autograds(dims, dropout):
    config = ModelConfig(latent_dim=3, encoder_dims=dims[0], decoder_dims=dims[1], dropout=dropout)
    measured = {"mg": [0, 1, 2, 4], "mt": [1, 3, 4], "mb": [0, 2, 3, 4]}
    visible = {"mg": [0, 2, 4], "mt": [1, 3], "mb": [0, 3, 4]}
    assert_gradient(config, measured, visible, size=5)


@settings(max_examples=30, deadline=None)
@given(
    has=st.lists(st.tuples(*[st.booleans()] * len(FEATURES)).filter(any), min_size=1, max_size=5),
    hidden=st.sets(st.tuples(st.integers(0, 4), st.sampled_from(list(FEATURES)))),
)
def test_any_pattern_of_layers(has, hidden):
    """One sample, layers of no or one row, layers nobody has or nobody shows."""
    config = ModelConfig(latent_dim=3, encoder_dims=(5,), decoder_dims=(4,), dropout=0.2)
    measured = {
        name: [sample for sample, layers in enumerate(has) if layers[column]]
        for column, name in enumerate(FEATURES)
    }
    visible = {
        name: [sample for sample in places if (sample, name) not in hidden]
        for name, places in measured.items()
    }
    assert_gradient(config, measured, visible, size=len(has))
