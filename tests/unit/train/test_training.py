"""Training in memory: what it learns, when it stops, what it refuses, what it leaves alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from immo_hpc.config import ImmoConfig, LossConfig, MaskConfig, Schedule
from immo_hpc.errors import ConfigError, TrainingError
from immo_hpc.train import HeldOut, fit, train
from immo_hpc.train.device import resolve_device
from immo_hpc.train.stopping import EarlyStopping

CPU = torch.device("cpu")


def test_loss_falls_and_records_say_what_was_done(cohort, new_config):
    values = Schedule(p0=0.6, growth=0.1, p_max=0.7)
    config = new_config(epochs=12, learning_rate=0.02).model_copy(
        update={"mask": MaskConfig(values_by_layer={"mb": values}, layers=Schedule(p0=0.9))}
    )
    training = train(cohort, config)
    first, last = training.records[0], training.records[-1]
    assert last.loss < 0.8 * first.loss
    assert [record.epoch for record in training.records] == list(range(12))
    assert last.keep == {
        "mg": config.mask.values.at(11),
        "mt": config.mask.values.at(11),
        "mb": 0.7,
    }
    assert last.keep_layers == 0.9
    assert last.learning_rate == pytest.approx(0.02 * 0.99**11)
    assert last.steps == 4
    alpha = 1 / 3
    assert 0 < first.loss < 3 * alpha * sum(first.layer_loss.values())


def test_two_runs_are_bit_equal_and_leave_torch_as_it_was(cohort, new_config):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = fit(cohort, new_config(num_threads=2))
    torch.rand(3)
    second = fit(cohort, new_config(num_threads=2))
    assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)
    torch.manual_seed(5)
    assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    assert torch.get_num_threads() == threads


def test_best_weights_are_given_back_and_training_stops(cohort, new_config):
    config = new_config(epochs=60, learning_rate=0.05, patience=3)
    training = train(cohort, config)
    errors = [record.validation for record in training.records]
    assert len(errors) < 60
    assert len(errors) - 1 - training.best_epoch == 3
    assert errors[training.best_epoch] == min(errors)
    measured = HeldOut(cohort, cohort.indices("validation"), CPU).measure(training.model)
    assert measured.error == errors[training.best_epoch]
    assert not training.model.training


def test_without_held_out_samples_every_epoch_is_trained(new_cohort, new_config):
    training = train(new_cohort(split=False), new_config(epochs=3, patience=1))
    assert len(training.records) == 3
    assert training.best_epoch is None
    assert training.records[0].validation is None
    assert any("early stopping" in notice for notice in training.notices)


@pytest.mark.parametrize("change", ["one sample left over", "layer absent", "batch of one"])
def test_small_and_incomplete_batches_train(cohort, new_config, change):
    batch_size = {"one sample left over": 29, "layer absent": 8, "batch of one": 1}[change]
    if change == "layer absent":
        cohort = cohort.without("mt")
    training = train(cohort, new_config(epochs=2, batch_size=batch_size))
    assert math.isfinite(training.records[-1].loss)
    if change == "layer absent":
        assert training.records[-1].layer_loss["mt"] is None


def test_infinite_input_is_named(cohort, new_config):
    values = cohort.layers["mb"].values.copy()
    values[:, 2] = np.inf
    layers = {**cohort.layers, "mb": replace(cohort.layers["mb"], values=values)}
    with pytest.raises(TrainingError, match=r"epoch 0, step 0.*layer 'mb': 1 of 6.*'mb_2'"):
        train(replace(cohort, layers=layers), new_config())


def test_divergence_is_named(cohort, new_config):
    with pytest.raises(TrainingError, match=r"epoch \d+, step \d+.*lower train.learning_rate"):
        train(cohort, new_config(learning_rate=1e30, epochs=30))


def test_nothing_to_learn_from(cohort, new_config):
    with pytest.raises(TrainingError, match="nothing to learn from: none of the 0"):
        train(replace(cohort, split=np.full(50, "test")), new_config())
    with pytest.raises(TrainingError, match="nothing to learn from: none of the 30"):
        train(cohort.without("mg", "mt", "mb"), new_config())


@pytest.mark.parametrize(
    "section",
    [
        {"mask": MaskConfig(values_by_layer={"rna": Schedule()})},
        {"loss": LossConfig(weights={"rna": 2.0})},
    ],
)
def test_unknown_layers_in_the_configuration_are_refused(cohort, new_config, section):
    with pytest.raises(ConfigError, match="rna"):
        train(cohort, new_config().model_copy(update=section))


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ConfigError, match="train.device"):
        resolve_device(name)


def test_stopping_counts_relative_falls():
    stopping = EarlyStopping(patience=2, min_delta=0.1)
    model = torch.nn.Linear(2, 1)
    better = [stopping.update(error, epoch, model) for epoch, error in enumerate([1.0, 0.95, 0.89])]
    assert better == [True, False, True]
    assert (stopping.best, stopping.best_epoch) == (0.89, 2)
    assert [stopping.is_over(epoch) for epoch in (2, 3, 4)] == [False, False, True]
    kept = stopping.weights["weight"].clone()
    with torch.no_grad():
        model.weight.add_(1)
    assert_close(stopping.weights["weight"], kept, rtol=0, atol=0)


def test_default_configuration_trains(new_cohort):
    config = ImmoConfig()
    config = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})})
    assert len(train(new_cohort(20), config).records) == 1
