"""The plain loop trains the same model, and the benchmark says what it measured."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from immo_hpc.bench import train as bench
from immo_hpc.bench.plain import PlainModel, reconstruct_plain, train_plain
from immo_hpc.config import ImmoConfig, PreparationConfig
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import write_shards
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.nn import ImmoModel


@pytest.fixture(scope="module")
def prepared():
    config = SimulationConfig(num_subjects=10, visits_mean=4, num_mg=8, num_mt=6, num_mb=5)
    cohort = simulate_cohort(config).cohort
    everyone = np.arange(len(cohort.samples))
    preparation = fit_preparation(cohort, everyone, PreparationConfig())
    return preparation.apply(cohort), preparation


def config(**sections):
    values = {
        "model": {"latent_dim": 4, "encoder_dims": [6], "decoder_dims": [7], "dropout": 0.0},
        "train": {"epochs": 15, "batch_size": 8, "learning_rate": 0.01, "device": "cpu"},
    }
    return ImmoConfig.model_validate({**values, **sections})


def test_plain_model_is_the_same_network(prepared):
    """Of a complete batch, with the same weights, both give the same reconstruction."""
    features = [8, 6, 5]
    plain = PlainModel(features, config()).eval()
    ours = ImmoModel(dict(zip("abc", features, strict=True)), config().model).eval()
    num = sum(p.numel() for p in plain.parameters())
    assert sum(p.numel() for p in ours.parameters()) == num
    with torch.no_grad():
        for place in range(3):
            linear, _, norm, _ = plain.encoders[place]
            block = ours.encoders[place].blocks[0]
            block.weight.copy_(linear.weight)
            block.bias.copy_(linear.bias)
            block.scale.copy_(norm.weight)
            ours.fusion[place].copy_(plain.fusion.weight[:, place * 6 : (place + 1) * 6])
        ours.latent_bias.copy_(plain.fusion.bias)
        ours.decoder.blocks[0].weight.copy_(plain.decoder[0].weight)
        ours.decoder.blocks[0].bias.copy_(plain.decoder[0].bias)
        for place, rows in enumerate(plain.output.weight.split(features)):
            ours.output_weights[place].copy_(rows)
        for place, bias in enumerate(plain.output.bias.split(features)):
            ours.output_biases[place].copy_(bias)
        x = torch.randn(5, 19)
        rows = torch.arange(5)
        shown = {n: (v, rows) for n, v in zip("abc", x.split(features, dim=1), strict=True)}
        x_hat = ours.decode(ours.encode(shown, 5), dict.fromkeys("abc"))
        torch.testing.assert_close(torch.cat(list(x_hat.values()), 1), plain(x))


def test_plain_loop_learns(prepared):
    cohort, _ = prepared
    device = torch.device("cpu")
    # Nothing hidden: this is about the loop, not about how hard the masks make it.
    mask = {"values": {"p0": 1.0}, "layers": {"p0": 1.0}}
    train = {"batch_size": 8, "learning_rate": 0.01, "device": "cpu"}
    errors = [
        bench.observed_loss(
            reconstruct_plain(
                train_plain(cohort, config(mask=mask, train={**train, "epochs": epochs}), device),
                cohort,
            ),
            cohort,
        )
        for epochs in (1, 40)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_comparison_measures_both_alike(prepared):
    cohort, _ = prepared
    result = bench.compare(cohort, config(), repeats=2)
    assert {name: len(times) for name, times in result.seconds.items()} == {"immo": 2, "plain": 2}
    assert result.ratio == pytest.approx(result.median_s["immo"] / result.median_s["plain"])
    assert result.samples == len(cohort.samples)
    assert 0 < result.loss["immo"] < 1
    assert 0.5 < result.loss["immo"] / result.loss["plain"] < 2
    assert f"ratio {result.ratio:.3f}" in result.text()


def test_observed_loss_scores_measured_values_alone(prepared):
    cohort, _ = prepared
    x_hat = np.nan_to_num(cohort.wide(), nan=1e6) + 2
    assert bench.observed_loss(x_hat, cohort) == pytest.approx(4, rel=1e-5)


def test_shards_are_timed_and_the_result_written(prepared, tmp_path):
    cohort, preparation = prepared
    split = np.where(np.arange(len(cohort.samples)) % 4 == 0, "test", "train")
    write_shards(replace(cohort, split=split), preparation, tmp_path / "shards")
    result = bench.bench_train(
        tmp_path / "shards", epochs=1, repeats=1, out=tmp_path / "train.json"
    )
    assert result.samples == int((split == "train").sum())
    written = json.loads((tmp_path / "train.json").read_text())
    assert written == json.loads(json.dumps(result.to_dict()))
    assert written["limit"] == 0.6
    assert {"commit", "versions", "environment", "date"} <= set(written)
