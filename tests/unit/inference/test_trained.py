"""A model used on new samples with any layers and features."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from immo_hpc.errors import CohortError, RunError, UsageError
from immo_hpc.inference import TrainedModel


def only(cohort, *names):
    """The samples that have all named layers, with these layers alone."""
    has = np.ones(len(cohort.samples), dtype=bool)
    for name in names:
        has &= np.isin(np.arange(len(has)), cohort.layers[name].rows)
    part = replace(cohort, layers={name: cohort.layers[name] for name in names})
    return part.take(np.flatnonzero(has))


def test_embedding_has_one_finite_float32_row_a_sample(trained, cohort):
    latent = trained.embed(trained.prepare(cohort))
    assert latent.shape == (len(cohort.samples), 4)
    assert latent.dtype == np.float32
    assert np.isfinite(latent).all()
    assert len(np.unique(latent, axis=0)) == len(latent)


def test_embedding_frame_names_samples_and_columns(trained, cohort):
    prepared = trained.prepare(cohort)
    frame = trained.embed_frame(prepared)
    assert list(frame.index) == cohort.sample_ids
    assert list(frame.columns) == ["immo_0", "immo_1", "immo_2", "immo_3"]
    np.testing.assert_array_equal(frame.to_numpy(), trained.embed(prepared))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(index=st.lists(st.integers(0, 39), min_size=1, max_size=12, unique=True))
def test_a_sample_is_embedded_alike_in_any_company(trained, cohort, index):
    everyone = trained.embed(trained.prepare(cohort))
    some = trained.embed(trained.prepare(cohort.take(index)))
    np.testing.assert_allclose(some, everyone[index], rtol=0, atol=1e-6)


def test_a_model_left_in_training_mode_still_embeds_in_evaluation_mode(trained, cohort):
    prepared = trained.prepare(cohort)
    expected = trained.embed(prepared)
    trained.model.train()
    np.testing.assert_array_equal(trained.embed(prepared), expected)
    np.testing.assert_array_equal(trained.embed(prepared), expected)


def test_order_of_layers_and_features_and_unknown_ones_change_nothing(trained, cohort):
    rng = np.random.default_rng(1)
    shuffled = {}
    for name, layer in reversed(cohort.layers.items()):
        order = rng.permutation(len(layer.features))
        noise = rng.normal(size=(len(layer.rows), 1)).astype(np.float32) ** 2
        shuffled[name] = replace(
            layer,
            features=(*(layer.features[place] for place in order), "never seen"),
            values=np.concatenate([layer.values[:, order], noise], axis=1),
        )
        if layer.kind == "binary":
            shuffled[name] = replace(
                shuffled[name], values=np.nan_to_num(shuffled[name].values > 0).astype(np.float32)
            )
    shuffled["extra"] = replace(cohort.layers["cl"], name="extra")
    other = replace(cohort, layers=shuffled)
    np.testing.assert_array_equal(
        trained.embed(trained.prepare(other)), trained.embed(trained.prepare(cohort))
    )
    told = " ".join(trained.notices(other))
    assert "'extra'" in told
    assert "never seen" in told
    assert trained.notices(cohort) == ()


def test_a_missing_feature_counts_as_not_measured(trained, cohort):
    layer = cohort.layers["mb"]
    without = replace(layer, features=layer.features[1:], values=layer.values[:, 1:])
    blanked = replace(layer, values=np.where(np.arange(5) == 0, np.float32(np.nan), layer.values))
    absent = replace(cohort, layers={**cohort.layers, "mb": without})
    empty = replace(cohort, layers={**cohort.layers, "mb": blanked})
    np.testing.assert_array_equal(
        trained.embed(trained.prepare(absent)), trained.embed(trained.prepare(empty))
    )
    assert any("mb_0" in notice for notice in trained.notices(absent))


def test_any_subset_of_layers_will_do(trained, cohort):
    part = only(cohort, "mb", "cl")
    prepared = trained.prepare(part)
    assert len(prepared.layers["mg"].rows) == 0
    assert trained.embed(prepared).shape == (len(part.samples), 4)
    assert trained.reconstruct(prepared, ["mg"])["mg"].shape == (len(part.samples), 6)


def test_samples_without_a_known_layer_are_named(trained, cohort):
    foreign = replace(
        cohort.layers["cl"], name="other", rows=np.arange(len(cohort.layers["cl"].rows))
    )
    few = cohort.take([0, 1, 2])
    part = replace(
        few,
        layers={
            "cl": replace(few.layers["cl"], values=few.layers["cl"].values[:0], rows=np.arange(0)),
            "other": replace(foreign, values=foreign.values[:3], rows=np.arange(3)),
        },
    )
    with pytest.raises(CohortError, match=r"'s0', 's1', 's2'.*mg, tx, mb, cl, pa"):
        trained.prepare(part)


def test_rows_whose_known_features_are_all_missing_are_no_layer(trained, cohort):
    layer = cohort.layers["cl"]
    renamed = replace(layer, features=("a", "b", "c"))
    part = replace(cohort, layers={"cl": renamed}).take(layer.rows)
    with pytest.raises(CohortError, match="none of the model's layers"):
        trained.prepare(part)


def test_an_unknown_layer_is_refused_with_the_known_ones(trained, cohort):
    with pytest.raises(UsageError, match=r"no layer 'mx'; its layers are mg, tx, mb, cl, pa"):
        trained.reconstruct(trained.prepare(cohort), ["mx"])


def test_batches_do_not_show(trained, cohort, monkeypatch):
    prepared = trained.prepare(cohort)
    latent, decoded = trained.embed(prepared), trained.reconstruct(prepared)
    monkeypatch.setattr("immo_hpc.inference.forward.BATCH_SIZE", 7)
    np.testing.assert_allclose(trained.embed(prepared), latent, rtol=0, atol=1e-6)
    for name, block in trained.reconstruct(prepared).items():
        np.testing.assert_allclose(block, decoded[name], rtol=0, atol=1e-6)


def test_saving_and_loading_changes_no_bit(trained, cohort, tmp_path):
    trained.save(tmp_path / "model")
    state = torch.get_rng_state()
    again = TrainedModel.load(tmp_path / "model", device="cpu")
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    prepared = trained.prepare(cohort)
    np.testing.assert_array_equal(again.embed(again.prepare(cohort)), trained.embed(prepared))
    assert again.layers == trained.layers
    assert again.config == trained.config
    assert again.roles == trained.roles
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"model.safetensors", "model.json", "preparation.json", "config.yaml"}
    before, after = trained.impute(prepared), again.impute(prepared)
    for name in before:
        pd.testing.assert_frame_equal(before[name], after[name])


def test_a_folder_that_is_not_a_model_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"model\.json"):
        TrainedModel.load(tmp_path)


def test_a_preparation_of_another_model_is_refused(trained, tmp_path):
    trained.save(tmp_path / "model")
    path = tmp_path / "model" / "preparation.json"
    path.write_text(path.read_text().replace('"mb_0"', '"mb_zero"'))
    with pytest.raises(RunError, match=r"preparation\.json"):
        TrainedModel.load(tmp_path / "model")


def test_a_missing_preparation_is_named(trained, tmp_path):
    trained.save(tmp_path / "model")
    (tmp_path / "model" / "preparation.json").unlink()
    with pytest.raises(RunError, match=r"preparation\.json"):
        TrainedModel.load(tmp_path / "model")


def test_a_model_without_times_is_written_as_before_there_were_any(trained, tmp_path):
    trained.save(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*.json") if '"roles"' in path.read_text()]
    assert files
    for path in files:
        assert not {"time", "time_unit"} & set(json.loads(path.read_text())["roles"])
