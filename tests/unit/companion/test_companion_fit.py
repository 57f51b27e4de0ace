"""A companion as a whole: fitted, kept, cut to size, and never worse than the mean."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from immo_hpc.companion import fit_companion, load_companion, save_companion
from immo_hpc.companion import reference as kept
from immo_hpc.companion.reference import chosen_people
from immo_hpc.data.hiding import hide_values
from immo_hpc.data.visits import with_visits
from immo_hpc.errors import RunError


@pytest.fixture
def parts(prepared):
    cohort = prepared()
    companion = fit_companion(cohort.take(cohort.indices("train", "validation")), None, 0)
    return companion, cohort.take(cohort.indices("test"))


def error(said, truth):
    return float(np.nansum((said - truth) ** 2) / np.nansum(truth**2))


def test_it_foretells_what_can_be_foretold(parts):
    companion, test = parts
    hidden = test.layers["b"]
    said = companion.blended(test.without("b"), "b", None)[hidden.rows]
    assert error(said, hidden.values) < 0.8
    shown, values = hide_values(test, 0.2, np.random.default_rng(0))
    said = companion.blended(shown, "b", None)[hidden.rows]
    assert error(said, values["b"]) < 0.6
    visited = companion.blended(with_visits(shown), "b", None)[hidden.rows]
    assert error(visited, values["b"]) < 0.6


def with_one_hidden(cohort, name):
    """``cohort`` with its layer taken from the first sample of each person, and these places."""
    layer = cohort.layers[name]
    person = cohort.subjects.to_numpy()[layer.rows]
    first = np.unique(person, return_index=True)[1]
    stays = np.setdiff1d(np.arange(len(layer.rows)), first)
    cut = replace(
        layer, values=layer.values[stays], rows=layer.rows[stays], scale=layer.scale[stays]
    )
    return replace(cohort, layers={**cohort.layers, name: cut}), layer.rows[np.sort(first)]


def test_a_layer_of_another_visit_is_looked_at(parts):
    companion, test = parts
    shown, gone = with_one_hidden(test, "b")
    seen = with_visits(shown)
    back = np.intersect1d(gone, seen.layers["b@visits"].rows)
    assert len(back) > 4
    truth = test.wide(["b"])[back]
    carried = companion.blended(seen, "b", None)[back]
    elsewhere = companion.blended(with_visits(test.without("b")), "b", None)[back]
    assert error(carried, truth) < 0.8 * error(elsewhere, truth)
    # Of whom no visit has it, all is as before.
    np.testing.assert_array_equal(
        companion.blended(seen.without("b", "b@visits"), "b", None),
        companion.blended(with_visits(test.without("b")), "b", None),
    )


def test_a_companion_without_such_rules_says_what_it_said(parts, tmp_path):
    companion, test = parts
    save_companion(tmp_path, companion)
    path = tmp_path / "companion.json"
    description = json.loads(path.read_text())
    assert set(description["rules"]["visits"].pop("revisited")) == set(test.layers)
    path.write_text(json.dumps(description))
    loaded = load_companion(tmp_path, {name: part.features for name, part in test.layers.items()})
    shown, gone = with_one_hidden(test, "b")
    np.testing.assert_array_equal(
        loaded.blended(with_visits(shown), "b", None)[gone],
        companion.blended(with_visits(shown).without("b", "b@visits"), "b", None)[gone],
    )


def test_one_visit_gets_the_plain_answer(parts):
    companion, test = parts
    shown, _ = hide_values(test, 0.2, np.random.default_rng(0))
    single = shown.take(np.arange(0, len(shown.samples), 3))
    assert single.subjects.is_unique
    for name in single.layers:
        said = companion.blended(with_visits(single), name, None)
        partial = single.layers[name].rows
        np.testing.assert_array_equal(said[partial], companion.blended(single, name, None)[partial])
    # Nor does it matter who else is there, or what is missing.
    mixed = shown.take(np.concatenate([np.arange(12), np.arange(12, len(shown.samples), 3)]))
    once = np.arange(12, len(mixed.samples))
    for name in mixed.layers:
        for cohort in (mixed, mixed.without(name)):
            said = companion.blended(with_visits(cohort), name, None)
            alone = companion.blended(cohort, name, None)
            np.testing.assert_allclose(said[once], alone[once], atol=1e-5)
    several = companion.blended(with_visits(shown), "a", None)
    assert not np.allclose(several, companion.blended(shown, "a", None))


def test_pure_noise_is_told_as_the_mean(parts):
    companion, test = parts
    for mode in ("plain", "visits"):
        assert companion.rules[mode].layers["noise"][1].companion < 0.1
    truth = test.layers["noise"].values
    said = companion.blended(test.without("noise"), "noise", None)
    mean = np.nanmean(companion.reference.layers["noise"].values, axis=0)
    assert error(said[test.layers["noise"].rows], truth) < 1.01 * error(mean, truth)


def test_what_was_measured_is_the_networks(parts):
    companion, test = parts
    network = np.full((len(test.samples), 12), 7, dtype=np.float32)
    said = companion.blended(test, "a", network)
    known = np.isfinite(test.wide(["a"]))
    np.testing.assert_array_equal(said[known], 7)
    assert (said[~known] != 7).all()


def test_a_saved_one_says_the_same(parts, tmp_path):
    companion, test = parts
    save_companion(tmp_path, companion)
    features = {name: layer.features for name, layer in test.layers.items()}
    loaded = load_companion(tmp_path, features)
    assert loaded.rules == companion.rules
    for cohort in (test.without("b"), with_visits(test.without("b"))):
        for name in test.layers:
            np.testing.assert_array_equal(
                loaded.blended(cohort, name, None), companion.blended(cohort, name, None)
            )
    assert "p00" not in (tmp_path / "companion.json").read_text()


def test_there_may_be_none_or_a_damaged_one(parts, tmp_path):
    companion, test = parts
    features = {name: layer.features for name, layer in test.layers.items()}
    assert load_companion(tmp_path, features) is None
    save_companion(tmp_path, companion)
    with pytest.raises(RunError, match="not those of the model beside it"):
        load_companion(tmp_path, {**features, "a": features["b"]})
    description = json.loads((tmp_path / "companion.json").read_text())
    (tmp_path / "companion.json").write_text(json.dumps({**description, "format_version": 9}))
    with pytest.raises(RunError, match="found immo-companion version 9"):
        load_companion(tmp_path, features)
    (tmp_path / "companion.json").write_text(json.dumps(description))
    (tmp_path / "companion.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read"):
        load_companion(tmp_path, features)


def test_two_fits_are_equal_and_do_not_know_the_samples_order(prepared):
    cohort = prepared()
    train = cohort.take(cohort.indices("train", "validation"))
    first, second = fit_companion(train, None, 0), fit_companion(train, None, 0)
    assert first.rules == second.rules


def test_without_validation_people_are_gone(parts):
    companion, _ = parts
    train = companion.without_validation()
    assert set(train.reference.split) == {"train"}
    assert train.rules is companion.rules


def test_a_network_takes_part_where_it_is_right(prepared):
    cohort = prepared()
    train = cohort.take(cohort.indices("train", "validation"))
    truth = {name: np.nan_to_num(layer.values) for name, layer in train.layers.items()}
    ids = {name: train.samples.index[layer.rows] for name, layer in train.layers.items()}

    def knows_all(shown, names):
        said = {}
        for name in names:
            place = ids[name].get_indexer(shown.samples.index)
            said[name] = np.where(place[:, None] >= 0, truth[name][place], 0).astype(np.float32)
        return said

    rules = fit_companion(train, knows_all, 0).rules["plain"]
    assert rules.layers["b"][1].network > 0.9
    assert rules.layers["noise"][1].network > 0.9


def test_people_are_kept_whole_and_the_same_in_any_order(monkeypatch):
    person = np.repeat([f"p{number}" for number in range(50)], 4)
    sides = np.full(200, "train")
    values = np.full(200, 10)
    monkeypatch.setattr(kept, "MOST_SAMPLES", 30)
    places = chosen_people(person.tolist(), sides, values)
    assert len(places) == 28
    assert all((person == name).sum() == (person[places] == name).sum() for name in person[places])
    order = np.random.default_rng(0).permutation(200)
    again = chosen_people(person[order].tolist(), sides, values)
    assert set(person[order][again]) == set(person[places])
    monkeypatch.setattr(kept, "MOST_BYTES", 2 * 10 * 8)
    assert len(chosen_people(person.tolist(), sides, values)) == 8


def test_one_person_makes_no_rules_and_nothing_is_said(prepared):
    cohort = prepared(people=1, visits=4)
    cohort = replace(cohort, split=None)
    companion = fit_companion(cohort, None, 0)
    assert not companion.rules


def timed(cohort):
    cohort = cohort.take(cohort.indices("train", "validation"))
    days = np.random.default_rng(4).uniform(0, 900, len(cohort.samples)) + 1e4
    days[::7] = np.nan
    roles = replace(cohort.roles, time="day")
    return replace(cohort, samples=cohort.samples.assign(day=days), roles=roles)


def test_when_samples_were_taken_is_kept_since_the_first_of_each(prepared, tmp_path):
    cohort = timed(prepared())
    companion = fit_companion(cohort, None, 0)
    kept_days = companion.reference.samples["days"]
    day = cohort.samples["day"]
    expected = day - day.groupby(cohort.samples["who"]).transform("min")
    np.testing.assert_array_equal(kept_days, expected)
    save_companion(tmp_path, companion)
    features = {name: layer.features for name, layer in cohort.layers.items()}
    loaded = load_companion(tmp_path, features)
    assert loaded.reference.roles == companion.reference.roles
    np.testing.assert_array_equal(loaded.reference.samples["days"], kept_days)
    seen = with_visits(cohort.without("b"))
    np.testing.assert_array_equal(
        loaded.blended(seen, "b", None), companion.blended(seen, "b", None)
    )


def test_days_of_another_number_of_samples_are_refused(prepared, tmp_path):
    cohort = timed(prepared())
    save_companion(tmp_path, fit_companion(cohort, None, 0))
    arrays = load_file(tmp_path / "companion.safetensors")
    save_file({**arrays, "days": arrays["days"][:5]}, tmp_path / "companion.safetensors")
    features = {name: layer.features for name, layer in cohort.layers.items()}
    with pytest.raises(RunError, match="days \\(5,\\) for 48 samples"):
        load_companion(tmp_path, features)
