"""Starting from a finished run on a cohort that has grown."""

import json
import signal

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from immo_hpc.config import ModelConfig
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import write_shards
from immo_hpc.errors import ConfigError, InterruptedRun, RunError
from immo_hpc.nn import ImmoModel
from immo_hpc.train import RunFolder, load_model, read_metrics, train_run
from immo_hpc.train.warm_start import take_weights, warm_start

OLD = {"mg": tuple(f"mg_{n}" for n in range(9)), "mb": tuple(f"mb_{n}" for n in range(6))}
# mg: one feature dropped, two new, another order; mb as it was; a layer before and one less.
NEW = {
    "mt": ("mt_0", "mt_1"),
    "mb": OLD["mb"],
    "mg": ("new_0", *reversed(OLD["mg"][1:]), "new_1"),
}


def cohort_of(base, features):
    """The cohort with the named features; what it does not have is drawn."""
    draw = np.random.default_rng(5)
    layers = {}
    for name, wanted in features.items():
        layer = base.layers[name]
        values = draw.normal(size=(len(layer.rows), len(wanted))).astype(np.float32)
        for place, feature in enumerate(wanted):
            if feature in layer.features:
                values[:, place] = layer.values[:, layer.features.index(feature)]
        layers[name] = PreparedLayer(name, tuple(wanted), values, layer.rows, layer.scale)
    return PreparedCohort(base.samples, layers, base.roles, base.split)


@pytest.fixture
def folders(new_cohort, tmp_path):
    """Shards of 60 samples, and of 90 of which these are the first."""
    whole = new_cohort(90, widths={"mg": 9, "mt": 2, "mb": 6})
    for name, cohort in (
        ("old", cohort_of(whole.take(np.arange(60)), OLD)),
        ("grown", cohort_of(whole, NEW)),
    ):
        write_shards(cohort, Preparation({}), tmp_path / name, rows_per_shard=64)
    return tmp_path


@pytest.fixture
def origin(folders, new_config):
    train_run(folders / "old", folders / "first", new_config())
    return folders / "first"


def column(model, layer, features, feature):
    return model.encoders[model.place[layer]].blocks[0].weight[:, features[layer].index(feature)]


def test_weights_follow_the_names(origin, new_config):
    config = new_config().model
    torch.manual_seed(7)
    model = ImmoModel({name: len(names) for name, names in NEW.items()}, config)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = warm_start(origin, NEW, config)
    take_weights(model, NEW, start)

    old, now = start.saved.model, model.state_dict()
    for feature in OLD["mg"][1:]:
        assert_close(column(model, "mg", NEW, feature), column(old, "mg", OLD, feature))
        here, there = NEW["mg"].index(feature), OLD["mg"].index(feature)
        assert_close(model.output_weights[2][here], old.output_weights[0][there])
        assert_close(model.output_biases[2][here], old.output_biases[0][there])
    for feature in ("new_0", "new_1"):
        place = NEW["mg"].index(feature)
        assert_close(
            now["encoders.2.blocks.0.weight"][:, place],
            fresh["encoders.2.blocks.0.weight"][:, place],
            rtol=0,
            atol=0,
        )
        assert_close(now["output_weights.2"][place], fresh["output_weights.2"][place])
    for name, tensor in fresh.items():
        if ".0." in name and name.startswith(("encoders.0", "output", "fusion")):
            assert_close(now[name], tensor, rtol=0, atol=0, msg=name)
    assert_close(now["fusion.0"], fresh["fusion.0"], rtol=0, atol=0)
    for mine, theirs in (("fusion.1", "fusion.1"), ("fusion.2", "fusion.0")):
        assert_close(now[mine], old.state_dict()[theirs], rtol=0, atol=0)
    for part in ("weight", "bias", "scale", "shift", "running_mean", "running_var"):
        key = f"decoder.blocks.0.{part}"
        assert_close(now[key], old.state_dict()[key], rtol=0, atol=0, msg=key)
    key = "blocks.0.running_var"
    assert_close(now[f"encoders.2.{key}"], old.state_dict()[f"encoders.0.{key}"], rtol=0, atol=0)
    assert_close(now["latent_bias"], old.state_dict()["latent_bias"], rtol=0, atol=0)


def test_a_model_of_the_same_features_is_taken_whole(origin, new_config):
    config = new_config().model
    model = ImmoModel({name: len(names) for name, names in OLD.items()}, config)
    take_weights(model, OLD, warm_start(origin, OLD, config))
    for name, tensor in load_model(origin).model.state_dict().items():
        assert_close(model.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_a_grown_cohort_goes_on_and_says_what_is_reused(folders, origin, new_config):
    config = new_config()
    warm = train_run(folders / "grown", folders / "warm", config, init_from=origin)
    cold = train_run(folders / "grown", folders / "cold", config)
    said = " ".join(warm.notices)
    assert f"starts from {origin}" in said
    assert "layer mg: 8 features reused, 2 new (new_0, new_1), 1 dropped (mg_0)." in said
    assert "layer mt: new, begins anew." in said
    assert warm.records[0].loss < cold.records[0].loss
    kept = json.loads(RunFolder(folders / "warm").description.read_text())["init_from"]
    assert kept["run"] == str(origin)
    assert kept["layers"]["mg"] == {"reused": 8, "new": ["new_0", "new_1"], "dropped": ["mg_0"]}
    assert (kept["new_layers"], kept["dropped_layers"]) == (["mt"], [])
    assert "init_from" not in json.loads(RunFolder(folders / "cold").description.read_text())


def stop(record):
    signal.raise_signal(signal.SIGTERM)


def without_seconds(run):
    timed = {"seconds": 0, "waiting_s": 0}
    return [{**record.to_dict(), **timed} for record in read_metrics(RunFolder(run).metrics)]


def test_it_goes_on_after_a_stop_as_if_there_had_been_none(folders, origin, new_config):
    config = new_config()
    train_run(folders / "grown", folders / "whole", config, init_from=origin)
    with pytest.raises(InterruptedRun):
        train_run(folders / "grown", folders / "run", config, init_from=origin, on_epoch=stop)
    train_run(folders / "grown", folders / "run", resume=True)
    assert without_seconds(folders / "run") == without_seconds(folders / "whole")


def test_killed_before_the_first_checkpoint_it_starts_from_the_same_weights(
    folders, origin, new_config
):
    config = new_config()
    train_run(folders / "grown", folders / "whole", config, init_from=origin)
    with pytest.raises(InterruptedRun):
        train_run(folders / "grown", folders / "run", config, init_from=origin, on_epoch=stop)
    for path in RunFolder(folders / "run").checkpoints.iterdir():
        path.unlink()
    train_run(folders / "grown", folders / "run", resume=True)
    assert without_seconds(folders / "run") == without_seconds(folders / "whole")


def test_weights_that_changed_since_are_refused(folders, origin, new_config):
    with pytest.raises(InterruptedRun):
        train_run(folders / "grown", folders / "run", new_config(), init_from=origin, on_epoch=stop)
    for path in RunFolder(folders / "run").checkpoints.iterdir():
        path.unlink()
    train_run(folders / "old", folders / "other", new_config(epochs=1))
    for name in ("model.safetensors", "model.json"):
        (origin / name).write_bytes((folders / "other" / name).read_bytes())
    with pytest.raises(RunError, match="begun with the weights of .*first, which have changed"):
        train_run(folders / "grown", folders / "run", resume=True)


def test_another_origin_is_refused_on_resume(folders, origin, new_config):
    train_run(folders / "grown", folders / "run", new_config(epochs=1), init_from=origin)
    with pytest.raises(RunError, match="begun with those of .*first, not with those of .*cold"):
        train_run(folders / "grown", folders / "run", resume=True, init_from=folders / "cold")


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ({"latent_dim": 5}, r"model.latent_dim is 5, in the run 4"),
        (
            {"encoder_dims": (6, 6), "decoder_dims": (8,)},
            r"model.encoder_dims is \[6, 6\], in the run \[6\]; model.decoder_dims is \[8\]",
        ),
    ],
)
def test_another_shape_names_the_keys(origin, new_config, shape, match):
    config = ModelConfig.model_validate({**new_config().model.model_dump(), **shape})
    with pytest.raises(ConfigError, match=match):
        warm_start(origin, NEW, config)


def test_nothing_in_common_and_no_run_are_refused(origin, new_config, tmp_path):
    config = new_config().model
    with pytest.raises(ConfigError, match=r"none of its features is there.*mg \(9 features\)"):
        warm_start(origin, {"mg": ("other",), "xx": ("mb_0",)}, config)
    with pytest.raises(RunError, match="holds no finished training"):
        warm_start(tmp_path, NEW, config)
