"""Masks and loss of a step against their equations, and what must not reach them."""

import math

import pytest
import torch
from torch.testing import assert_close

from immo_hpc.config import ImmoConfig, LossConfig, MaskConfig, Schedule
from immo_hpc.data.batches import Batch, BatchSource, LayerBatch
from immo_hpc.errors import ConfigError
from immo_hpc.nn import ImmoModel
from immo_hpc.train.objective import LayerTerm, Objective, layer_terms
from immo_kernels import MaskStream, keep_layers, keep_values


def prepare(cohort, config, epoch=0):
    torch.manual_seed(0)
    model = ImmoModel({n: len(p.features) for n, p in cohort.layers.items()}, config.model)
    source = BatchSource(cohort, batch_size=12, seed=1)
    return model, Objective(layer_terms(cohort, config), config, epoch), next(source.epoch(0))


def configured(new_config, **sections):
    config = new_config()
    model = config.model.model_copy(update={"dropout": 0.0})
    return config.model_copy(update={"model": model, **sections})


def backward(losses):
    """What the trainer does with its own backward pass, by autograd."""
    layers = losses.values()
    torch.autograd.backward([layer.x_hat for layer in layers], [layer.gradient for layer in layers])


def reference_loss(model, objective, batch):
    """Equations 1, 2, 3 and 7 on the padded rectangle, from `keep_values` and `keep_layers`."""
    config, stream = objective.config, objective.stream
    names = list(objective.terms)
    measured = torch.zeros(batch.size, len(names), dtype=torch.bool)
    for column, name in enumerate(names):
        measured[batch.layers[name].rows, column] = True
    shown = keep_layers(
        measured, batch.sample_uid, keep_probability=objective.keep_layers, stream=stream
    )
    visible, scored, first = {}, {}, 0
    for column, name in enumerate(names):
        layer = batch.layers[name]
        width = layer.values.shape[1]
        kept = keep_values(
            batch.sample_uid[layer.rows],
            width,
            keep_probability=objective.keep[name],
            stream=stream,
            first_feature=first,
        )
        first += width
        is_shown = shown[layer.rows, column]
        observed = ~layer.values.isnan()
        kept = kept & is_shown[:, None]
        masked = torch.where(kept & observed, layer.values, 0.0)
        visible[name] = masked[is_shown], layer.rows[is_shown]
        scored[name] = {
            "observed": observed, "kept": observed & kept, "dropped": observed & ~kept
        }[config.loss.scope]  # fmt: skip
    x_hat = model.decode(
        model.encode(visible, batch.size), {n: batch.layers[n].rows for n in names}
    )
    total = torch.zeros(())
    for name, term in objective.terms.items():
        error = (x_hat[name] - batch.layers[name].values)[scored[name]]
        size = len(error) if config.loss.normalizer == "scored" else batch.size * term.num_features
        total = total + term.weight / max(size, 1) * error.square().sum()
    return total


@pytest.mark.parametrize("scope", ["observed", "kept", "dropped"])
@pytest.mark.parametrize("normalizer", ["scored", "size"])
@pytest.mark.parametrize("layer_p", [1.0, 0.5])
def test_step_follows_the_equations(cohort, new_config, scope, normalizer, layer_p):
    config = configured(
        new_config,
        loss=LossConfig(scope=scope, normalizer=normalizer, weights={"mb": 2.0}),
        mask=MaskConfig(values=Schedule(p0=0.6), layers=Schedule(p0=layer_p)),
    )
    model, objective, batch = prepare(cohort, config)
    expected = reference_loss(model, objective, batch)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    losses = objective.losses(model, batch)
    backward(losses)

    assert_close(sum(layer.loss for layer in losses.values()), expected, rtol=1e-5, atol=1e-6)
    for name, parameter in model.named_parameters():
        assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def poisoned(objective, batch):
    """The batch with infinity in every measured value that the masks hide from the encoder."""
    names = list(objective.terms)
    measured = torch.zeros(batch.size, len(names), dtype=torch.bool)
    for column, name in enumerate(names):
        measured[batch.layers[name].rows, column] = True
    shown = keep_layers(
        measured,
        batch.sample_uid,
        keep_probability=objective.keep_layers,
        stream=objective.stream,
    )
    layers = {}
    for column, name in enumerate(names):
        layer = batch.layers[name]
        kept = keep_values(
            batch.sample_uid[layer.rows],
            layer.values.shape[1],
            keep_probability=objective.keep[name],
            stream=objective.stream,
            first_feature=objective.terms[name].first_feature,
        )
        hidden = ~(kept & shown[layer.rows, column][:, None]) & ~layer.values.isnan()
        assert hidden.any()
        layers[name] = LayerBatch(torch.where(hidden, math.inf, layer.values), layer.rows)
    return Batch(batch.sample_uid, layers)


def step(model, objective, batch):
    """Latent, losses and gradients of one step from the same weights and statistics."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.zero_grad()
    latents = []
    encode = model.encode
    model.encode = lambda shown, size: latents.append(encode(shown, size)) or latents[-1]
    losses = objective.losses(model, batch)
    del model.encode
    backward(losses)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.load_state_dict(state)
    return latents[0].detach(), [layer.loss.detach() for layer in losses.values()], gradients


def test_masked_values_carry_no_gradient_and_do_not_move_the_output(cohort, new_config):
    config = configured(
        new_config,
        loss=LossConfig(scope="kept"),
        mask=MaskConfig(values=Schedule(p0=0.5), layers=Schedule(p0=0.5)),
    )
    model, objective, batch = prepare(cohort, config)
    clean, dirty = step(model, objective, batch), step(model, objective, poisoned(objective, batch))
    assert_close(dirty, clean, rtol=0, atol=0)


@pytest.mark.parametrize("scope", ["observed", "dropped"])
def test_values_that_are_scored_but_hidden_do_not_move_the_latent(cohort, new_config, scope):
    config = configured(
        new_config,
        loss=LossConfig(scope=scope),
        mask=MaskConfig(values=Schedule(p0=0.5), layers=Schedule(p0=0.5)),
    )
    model, objective, batch = prepare(cohort, config)
    clean, dirty = step(model, objective, batch), step(model, objective, poisoned(objective, batch))
    assert_close(dirty[0], clean[0], rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 2, 12])
def test_missing_values_leave_gradients_finite(cohort, new_config, size):
    model, objective, batch = prepare(cohort, configured(new_config))
    keep = batch.sample_uid[:size]
    layers = {}
    for name, layer in batch.layers.items():
        chosen = layer.rows < size
        layers[name] = LayerBatch(layer.values[chosen], layer.rows[chosen])
    layers["mt"] = LayerBatch(layers["mt"].values[:0], layers["mt"].rows[:0])
    layers["mb"].values[:] = torch.nan

    losses = objective.losses(model, Batch(keep, layers))
    if losses:
        backward(losses)

    assert "mt" not in losses
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


def test_masks_follow_the_schedule_and_a_static_mask_stays(cohort, new_config):
    values = Schedule(p0=0.5, growth=0.1, p_max=0.7)
    dynamic = configured(new_config, mask=MaskConfig(values=values))
    static = configured(new_config, mask=MaskConfig(values=values, dynamic=False))
    terms = {"mg": LayerTerm(0, 0, 1.0, 9)}
    keep, streams = [], []
    for epoch in range(6):
        moving, still = (Objective(terms, config, epoch) for config in (dynamic, static))
        keep.append(moving.keep["mg"])
        streams.append(moving.stream)
        assert (still.keep["mg"], still.stream) == (0.5, MaskStream(seed=3, epoch=0))
    assert keep == pytest.approx([0.5, 0.55, 0.605, 0.6655, 0.7, 0.7])
    assert streams == [MaskStream(seed=3, epoch=epoch) for epoch in range(6)]


def test_weight_of_an_unknown_layer_is_refused(cohort):
    config = ImmoConfig(loss=LossConfig(weights={"rna": 1.0}))
    with pytest.raises(ConfigError, match="rna"):
        layer_terms(cohort, config)
