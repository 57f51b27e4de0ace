import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import RECIPES, ImmoConfig, Schedule, config_keys, load_config
from immo_hpc.errors import ConfigError


@settings(max_examples=60)
@given(
    p0=st.floats(0.01, 1), growth=st.floats(0, 0.5), p_max=st.floats(0.01, 1), t=st.integers(0, 500)
)
def test_schedule_is_equation_1(p0, growth, p_max, t):
    p0, p_max = min(p0, p_max), max(p0, p_max)
    expected = min(p_max, math.exp(min(math.log(p0) + t * math.log1p(growth), 10)))
    assert Schedule(p0=p0, growth=growth, p_max=p_max).at(t) == pytest.approx(expected, rel=1e-9)


def test_schedule_survives_any_epoch():
    assert Schedule(p0=0.1, growth=1e-9, p_max=0.9).at(10**15) == 0.9
    assert Schedule(p0=0.5, growth=3.0, p_max=0.9).at(10**15) == 0.9


def test_static_mask_stays_at_the_first_epoch():
    mask = load_config(assignments=["mask.dynamic=false"]).mask
    assert [mask.value_probability("mg", t) for t in (0, 50)] == [0.75, 0.75]
    assert mask.stream_epoch(50) == 0


def test_file_and_assignments_stand_over_the_recipe(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("train: {epochs: 7, batch_size: 16}\nloss: {weights: {mb: 2}}\n")
    config = load_config(file, recipe="paper", assignments=["train.batch_size=8"])
    assert (config.train.epochs, config.train.batch_size, config.loss.scope) == (7, 8, "kept")
    assert config.loss.layer_weights(["mg", "mb"]) == {"mg": pytest.approx(1 / 3), "mb": 2 / 3}


def test_yaml_round_trip(tmp_path):
    for name in RECIPES:
        config = load_config(recipe=name)
        file = tmp_path / f"{name}.yaml"
        file.write_text(config.to_yaml())
        assert load_config(file) == config


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["train.epoch=3"], "unknown key 'train.epoch'.*did you mean 'train.epochs'.*mask.dynamic"),
        (["train.epochs=0"], "train.epochs: .*greater than or equal to 1, found 0"),
        (["train.epochs=many"], "train.epochs: .*integer.*found 'many'"),
        (["mask.values.p0=0.99"], r"mask.values: p0 \(0.99\) must not exceed p_max"),
        (["loss.weights={mg: -1}"], "loss: weights must be >= 0"),
        (["model.latent_dim=.nan"], "model.latent_dim"),
        (["nothing"], "expected key.path=value"),
        (["train=3"], "train: "),
    ],
)
def test_wrong_keys_and_values_are_named(assignments, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(assignments=assignments)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml.*cannot be read"):
        load_config(tmp_path / "absent.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("train: [")
    with pytest.raises(ConfigError, match=r"bad\.yaml: not valid YAML"):
        load_config(bad)
    bad.write_text("- 1")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_config(bad)
    with pytest.raises(
        ConfigError, match="recipe 'none' is unknown; the recipes are default, paper"
    ):
        load_config(recipe="none")


def test_loss_weights_name_real_layers():
    config = load_config(assignments=["loss.weights={mx: 1}"])
    with pytest.raises(ConfigError, match=r"names \['mx'\]"):
        config.loss.layer_weights(["mg"])
    with pytest.raises(ConfigError, match="above 0"):
        load_config(assignments=["loss.weights={mg: 0}"]).loss.layer_weights(["mg"])


def test_every_field_is_described():
    assert "train.checkpoint_min" in config_keys()
    for section in ImmoConfig.model_fields.values():
        if hasattr(section.annotation, "model_fields"):
            for name, field in section.annotation.model_fields.items():
                assert field.description, name
