"""The network: absent layers cost nothing, change nothing, and poison goes nowhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from immo_hpc.config import ModelConfig
from immo_hpc.nn import ImmoModel

FEATURES = {"mg": 5, "mt": 1, "a.b": 7}
CONFIG = ModelConfig(latent_dim=6, encoder_dims=(8, 4), decoder_dims=(9,), dropout=0.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ImmoModel(FEATURES, CONFIG)


def batch(rows, seed=1):
    torch.manual_seed(seed)
    return {
        name: (torch.randn(len(places), FEATURES[name]), torch.tensor(places, dtype=torch.int64))
        for name, places in rows.items()
    }


def dense_latent(model, shown, size):
    """The latent as one dense layer on concatenated codes, absent codes zero."""
    width = CONFIG.encoder_dims[-1]
    codes = torch.zeros(size, width * len(FEATURES))
    for place, name in enumerate(FEATURES):
        if name in shown:
            values, rows = shown[name]
            codes[rows, place * width : (place + 1) * width] = model.encoders[place](values)
    return codes @ torch.cat(list(model.fusion), dim=1).T + model.latent_bias


def test_latent_is_one_dense_layer_on_the_concatenated_codes(model):
    model.eval()
    shown = batch({"mg": [0, 1, 3], "a.b": [1, 2]})
    assert_close(model.encode(shown, 5), dense_latent(model, shown, 5))


@settings(max_examples=25, deadline=None)
@given(
    measured=st.lists(
        st.tuples(*[st.booleans()] * len(FEATURES)).filter(any), min_size=2, max_size=6
    )
)
def test_a_sample_embeds_alone_as_in_company(measured):
    torch.manual_seed(0)
    model = ImmoModel(FEATURES, CONFIG).eval()
    names = list(FEATURES)
    shown = batch({n: [i for i, has in enumerate(measured) if has[c]] for c, n in enumerate(names)})
    together = model.encode(shown, len(measured))
    for sample in range(len(measured)):
        alone = {
            name: (
                values[rows == sample],
                torch.zeros(int((rows == sample).sum()), dtype=torch.int64),
            )
            for name, (values, rows) in shown.items()
        }
        assert_close(model.encode(alone, 1)[0], together[sample], rtol=1e-5, atol=1e-6)


def test_no_layer_at_all_gives_the_bias(model):
    assert_close(model.encode({}, 3), model.latent_bias.expand(3, -1))


def test_decoder_gives_the_rows_asked_for(model):
    model.eval()
    latent = torch.randn(4, CONFIG.latent_dim)
    whole = model.decode(latent, dict.fromkeys(FEATURES))
    some = model.decode(latent, {"a.b": torch.tensor([3, 1])})
    assert {name: tuple(x_hat.shape) for name, x_hat in whole.items()} == {
        "mg": (4, 5), "mt": (4, 1), "a.b": (4, 7)
    }  # fmt: skip
    assert list(some) == ["a.b"]
    assert_close(some["a.b"], whole["a.b"][[3, 1]])


@pytest.mark.parametrize(
    "rows",
    [
        {"mg": [0], "mt": [0], "a.b": [0]},
        {"mg": [0, 1, 2], "mt": [], "a.b": [1]},
        {"mt": [0, 1]},
    ],
    ids=["one sample", "a layer wholly absent", "one feature only"],
)
def test_small_batches_train(model, rows):
    size = 1 + max(place for places in rows.values() for place in places)
    shown = batch(rows)
    latent = model.encode(shown, size)
    x_hat = model.decode(latent, {name: where for name, (_, where) in shown.items()})
    sum(part.square().sum() for part in x_hat.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


def test_absent_samples_never_touch_a_layers_statistics(model):
    shown = batch({"mg": [0, 2, 5], "mt": [0, 1, 2, 3, 4, 5]})
    few = {"mg": (shown["mg"][0], torch.tensor([0, 1, 2]))}
    other = ImmoModel(FEATURES, CONFIG)
    other.load_state_dict(model.state_dict())
    untouched = {name: t.clone() for name, t in model.encoders[2].named_buffers()}

    model.encode(shown, 6)
    other.encode(few, 3)

    for name, buffer in model.encoders[0].named_buffers():
        assert_close(buffer, dict(other.encoders[0].named_buffers())[name], rtol=0, atol=0)
    for name, buffer in model.encoders[2].named_buffers():
        assert_close(buffer, untouched[name], rtol=0, atol=0)


def test_initial_weights_are_those_of_dense_layers(model):
    bound = 1 / (CONFIG.encoder_dims[-1] * len(FEATURES)) ** 0.5
    joined = torch.cat(list(model.fusion), dim=1)
    assert joined.shape == (6, 12)
    assert float(joined.detach().abs().max()) <= bound
    assert float(joined.detach().abs().max()) > 0.8 * bound
