"""R² of hidden values and layers: 0 is the training mean, 1 is perfect."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from immo_hpc.errors import CohortError
from immo_hpc.inference import hidden_r2, mean_score
from immo_hpc.train.validation import HeldOut


def flat(trained, value):
    """The model, made to say one value everywhere."""
    model = copy.deepcopy(trained.model)
    with torch.no_grad():
        for weight, bias in zip(model.output_weights, model.output_biases, strict=True):
            weight.zero_()
            bias.fill_(value)
    return replace(trained, model=model)


def test_saying_the_mean_scores_zero(trained, cohort):
    table = hidden_r2(flat(trained, 0.0), trained.prepare(cohort))
    assert list(table.index) == ["mg", "tx", "mb", "cl", "pa"]
    assert list(table.columns) == ["values", "layers"]
    np.testing.assert_array_equal(table.to_numpy(), 0)


def test_a_constant_scores_what_it_does_by_hand(trained, cohort):
    """Hidden layers: all values of samples with another layer are scored."""
    prepared = trained.prepare(cohort)
    table = hidden_r2(flat(trained, 0.5), prepared)
    measured = prepared.measured()
    for place, (name, layer) in enumerate(prepared.layers.items()):
        x = layer.values[measured[layer.rows].sum(axis=1) > 1].astype(np.float64)
        x = x[~np.isnan(x)]
        expected = 1 - ((0.5 - x) ** 2).sum() / (x**2).sum()
        np.testing.assert_allclose(table["layers"].iloc[place], expected, rtol=1e-4, atol=1e-6)
        assert name == table.index[place]


def test_values_that_are_alike_are_scored_perfect(trained, cohort):
    prepared = trained.prepare(cohort)
    ones = {
        name: replace(layer, values=np.where(np.isnan(layer.values), layer.values, np.float32(1)))
        for name, layer in prepared.layers.items()
    }
    table = hidden_r2(flat(trained, 1.0), replace(prepared, layers=ones))
    np.testing.assert_allclose(table.to_numpy(), 1, atol=1e-6)


def test_the_score_does_not_change_the_model(trained, cohort):
    before = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    first = hidden_r2(trained, trained.prepare(cohort))
    assert first.equals(hidden_r2(trained, trained.prepare(cohort)))
    for name, tensor in trained.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_single_layer_has_no_hidden_layer(trained, cohort):
    prepared = trained.prepare(cohort).without("tx", "mb", "cl", "pa")
    table = hidden_r2(trained, prepared)
    assert table["layers"].isna().all()
    assert np.isfinite(table.loc["mg", "values"])
    assert mean_score(table) == table.loc["mg", "values"]


def test_nothing_to_hide_is_told(trained, cohort):
    prepared = trained.prepare(cohort).without("mg", "tx", "mb", "cl", "pa")
    with pytest.raises(CohortError, match="could be hidden"):
        hidden_r2(trained, prepared)


def test_what_is_hidden_is_what_the_training_hides(trained, cohort):
    """The held-out error of the training, of the same network, is the same error."""
    prepared = trained.prepare(cohort)
    everyone = np.arange(len(prepared.samples))
    errors = HeldOut(prepared, everyone, torch.device("cpu")).measure(trained.model)
    said = HeldOut(prepared, everyone, torch.device("cpu")).measure(flat(trained, 0.0).model)
    table = hidden_r2(trained, prepared)
    for name in prepared.layers:
        for column in ("values", "layers"):
            expected = 1 - getattr(errors, column)[name] / getattr(said, column)[name]
            np.testing.assert_allclose(table.loc[name, column], expected, atol=1e-4)
