"""A trained model with a companion: what is missing is told by both, the rest is untouched."""

from dataclasses import replace

import numpy as np
import pytest

from immo_hpc.companion import Companion, Rules
from immo_hpc.companion.weights import Weight
from immo_hpc.data.shards import write_shards
from immo_hpc.data.stream import open_shards
from immo_hpc.data.visits import with_visits
from immo_hpc.inference import TrainedModel, new_samples, prepared_samples
from immo_hpc.inference import samples as portions
from immo_hpc.inference.companion import companion_of


def trusted(rules):
    return {name: (setting, Weight(0.6, 0.2)) for name, (setting, _) in rules.items()}


@pytest.fixture(scope="module")
def accompanied(trained, cohort):
    prepared = trained.prepare(cohort)
    split = np.array(["train", "train", "validation", "validation"] * 10)
    companion, notice = companion_of(trained.model, replace(prepared, split=split), trained.config)
    assert notice.startswith("companion: keeps 40 samples of 20 of the 20 people")
    # The cohort is noise, and would be told as the mean.
    rules = {
        mode: Rules(trusted(own.layers), trusted(own.values))
        for mode, own in companion.rules.items()
    }
    return replace(trained, companion=Companion(companion.reference, rules))


def test_the_latent_and_what_was_measured_stay(accompanied, trained, cohort):
    prepared = trained.prepare(cohort)
    np.testing.assert_array_equal(accompanied.embed(prepared), trained.embed(prepared))
    before, now = trained.reconstruct(prepared), accompanied.reconstruct(prepared)
    for name in before:
        known = np.isfinite(prepared.wide([name]))
        np.testing.assert_array_equal(now[name][known], before[name][known])
        assert np.isfinite(now[name]).all()
        assert not np.array_equal(now[name][~known], before[name][~known])


def test_a_saved_model_says_the_same(accompanied, cohort, tmp_path):
    accompanied.save(tmp_path / "model")
    loaded = TrainedModel.load(tmp_path / "model", device="cpu")
    prepared = accompanied.prepare(cohort)
    for name, said in accompanied.reconstruct(prepared).items():
        np.testing.assert_array_equal(loaded.reconstruct(prepared, [name])[name], said)


def test_held_back_has_seen_nobody_of_validation(accompanied, trained):
    sides = accompanied.held_back().companion.reference.split
    assert set(sides) == {"train"}
    assert trained.held_back() is trained


def test_portions_know_all_visits(accompanied, cohort, monkeypatch):
    prepared = accompanied.prepare(cohort)
    whole = accompanied.reconstruct(with_visits(prepared), ["mb"])["mb"]
    monkeypatch.setattr(portions, "BATCH_SIZE", 7)
    monkeypatch.setattr(portions, "PORTION_BYTES", 1)
    parts = list(prepared_samples(prepared).portions(visits=True))
    assert len(parts) > 3
    said = np.concatenate([accompanied.reconstruct(part.cohort, ["mb"])["mb"] for part in parts])
    np.testing.assert_allclose(said, whole, atol=1e-5)
    plain = accompanied.reconstruct(prepared, ["mb"])["mb"]
    assert not np.allclose(plain, whole)
    silent = prepared_samples(prepared).portions(
        visits=True, unheard=lambda portion: np.ones(len(portion.samples), dtype=bool)
    )
    alone = np.concatenate([accompanied.reconstruct(p.cohort, ["mb"])["mb"] for p in silent])
    np.testing.assert_allclose(alone, plain, atol=1e-5)


def test_shards_give_the_companion_that_memory_gives(trained, cohort, tmp_path):
    split = np.array(["train", "train", "validation", "validation"] * 10)
    prepared = replace(trained.prepare(cohort), split=split)
    write_shards(prepared, trained.preparation, tmp_path / "shards")
    streamed, _ = companion_of(trained.model, open_shards(tmp_path / "shards"), trained.config)
    held, _ = companion_of(trained.model, prepared, trained.config)
    assert streamed.rules == held.rules
    for name, layer in held.reference.layers.items():
        np.testing.assert_array_equal(streamed.reference.layers[name].values, layer.values)
        np.testing.assert_array_equal(streamed.reference.layers[name].rows, layer.rows)
    assert list(streamed.reference.samples["subject"]) == list(held.reference.samples["subject"])


def test_times_count_if_they_did_in_training(accompanied, cohort):
    samples = cohort.samples.assign(day=np.arange(len(cohort.samples)) * 90.0)
    dated = replace(cohort, samples=samples, roles=replace(cohort.roles, time="day"))
    alike = with_visits(accompanied.prepare(cohort))
    ignored = with_visits(accompanied.prepare(dated))
    timed = replace(accompanied, roles=replace(accompanied.roles, time="day"))
    weighed = with_visits(timed.prepare(dated))
    for name in cohort.layers:
        visits = f"{name}@visits"
        np.testing.assert_array_equal(ignored.wide([visits]), alike.wide([visits]))
        assert not np.array_equal(weighed.wide([visits]), alike.wide([visits]), equal_nan=True)
    for model, expected in ((accompanied, ignored), (timed, weighed)):
        parts = list(new_samples(model, dated).portions(visits=True))
        np.testing.assert_array_equal(parts[0].cohort.wide(), expected.wide())
