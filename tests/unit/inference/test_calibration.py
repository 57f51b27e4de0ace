"""Intervals and distances learnt from people held out keep what they promise."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX
from immo_hpc.errors import CohortError, UsageError
from immo_hpc.inference.calibration.distance import FAR_BELOW
from immo_hpc.inference.calibration.fit import calibration_of
from immo_hpc.inference.calibration.hidden import hidden_errors
from immo_hpc.inference.calibration.intervals import LEVELS

VISITS = 4
WIDTHS = {"a": 9, "b": 6}


@dataclass(frozen=True)
class KnowsNothing:
    """Says the training mean; its errors are the z-scores themselves."""

    preparation: Preparation

    def apart(self, train):
        yield self, train

    def reconstruct(self, cohort, layers=None):
        names = WIDTHS if layers is None else layers
        return {
            name: np.zeros((len(cohort.samples), WIDTHS[name]), dtype=np.float32) for name in names
        }


def draw(rng, num_people, width, person_sd):
    """Normal and skewed features in turn, with something of the person in each."""
    size = (num_people * VISITS, width)
    person = np.repeat(rng.normal(size=(num_people, width)), VISITS, axis=0)
    normal = person_sd * person + np.sqrt(1 - person_sd**2) * rng.normal(size=size)
    return np.where(np.arange(width) % 2 == 0, normal, np.exp(normal))


def make_cohort(num_people, seed, person_sd=0.0):
    rng = np.random.default_rng(seed)
    people = [f"{seed}p{number}" for number in range(num_people) for _ in range(VISITS)]
    ids = pd.Index([f"{seed}s{number}" for number in range(len(people))], name="sample_id")
    layers = {
        name: Layer(
            name,
            "continuous",
            tuple(f"{name}{column}" for column in range(width)),
            draw(rng, num_people, width, person_sd).astype(np.float32),
            np.arange(len(people)),
        )
        for name, width in WIDTHS.items()
    }
    samples = pd.DataFrame({"who": people}, index=ids)
    return Cohort(samples, layers, Roles(subject="who"))


def calibrated(num_people=100, person_sd=0.0, seed=0):
    train = make_cohort(100, 1000 + seed, person_sd)
    preparation = fit_preparation(train, np.arange(len(train.samples)), PreparationConfig())
    model = KnowsNothing(preparation)
    held_out = preparation.apply(make_cohort(num_people, 2000 + seed, person_sd))
    return model, calibration_of(model, preparation.apply(train), held_out, seed=seed)


def coverage(model, calibration, cohort, level):
    """Share of hidden values below, within and above, by task and layer."""
    found = {}
    for hidden in hidden_errors(model, cohort, seed=5):
        offsets = calibration.offsets(hidden.layer, level)[hidden.task]
        known = np.isfinite(hidden.error)
        below = (hidden.error < offsets.lower)[known].mean()
        above = (hidden.error > offsets.upper)[known].mean()
        found[hidden.task, hidden.layer] = (below, 1 - below - above, above)
    return found


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_intervals_hold_the_promised_share_of_values_of_known_distributions(level):
    model, calibration = calibrated(300)
    test = model.preparation.apply(make_cohort(300, 7))
    found = coverage(model, calibration, test, level)
    assert set(found) == {(task, name) for task in ("values", "layers") for name in WIDTHS}
    ends = np.array(list(found.values()))
    # Each end has half of what is left, however skewed the values are.
    wanted = [(1 - level) / 2, level, (1 - level) / 2]
    np.testing.assert_allclose(ends.mean(axis=0), wanted, atol=0.015)
    np.testing.assert_allclose(ends, np.tile(wanted, (4, 1)), atol=0.04)


def test_many_equal_values_are_held_as_promised_or_more():
    """Of a feature that is mostly 0, no interval holds a share of the zeros."""
    train, held_out, test = (make_cohort(200, seed) for seed in (1, 2, 3))

    def spiked(cohort):
        layers = {
            name: replace(layer, values=np.where(layer.values > 1, layer.values, 0))
            for name, layer in cohort.layers.items()
        }
        return replace(cohort, layers=layers)

    preparation = fit_preparation(spiked(train), np.arange(800), PreparationConfig())
    model = KnowsNothing(preparation)
    sides = [preparation.apply(spiked(cohort)) for cohort in (train, held_out, test)]
    calibration = calibration_of(model, sides[0], sides[1], seed=0)
    for level in (0.5, 0.8, 0.95):
        for _, within, _ in coverage(model, calibration, sides[2], level).values():
            assert within > level - 0.02


def test_people_may_differ_and_few_of_them_may_be_held_out():
    """Twelve people a calibration, their visits alike: right on average over calibrations."""
    within = []
    for seed in range(12):
        model, calibration = calibrated(12, person_sd=0.8, seed=seed)
        test = model.preparation.apply(make_cohort(100, 7, person_sd=0.8))
        within += [share for _, share, _ in coverage(model, calibration, test, 0.9).values()]
    assert abs(np.mean(within) - 0.9) < 0.03


def test_somebody_with_many_visits_decides_no_more_than_others():
    model, _ = calibrated()
    cohort = model.preparation.apply(make_cohort(40, 3))
    loud = np.repeat(np.arange(VISITS), 60)
    layers = {
        name: replace(layer, values=np.where(np.arange(160)[:, None] < VISITS, 9.0, layer.values))
        for name, layer in cohort.layers.items()
    }
    odd = replace(cohort, layers=layers)
    crowd = odd.take(np.concatenate([loud, np.arange(VISITS, 160)]))
    crowd = replace(crowd, samples=crowd.samples.set_axis(pd.RangeIndex(len(crowd.samples))))
    train = model.preparation.apply(make_cohort(100, 1))
    ends = [
        calibration_of(model, train, part, seed=0).offsets("a", 0.9)["layers"].upper
        for part in (odd, crowd)
    ]
    np.testing.assert_allclose(ends[1], ends[0], rtol=0.25)


def test_higher_levels_give_wider_intervals_around_what_is_said():
    _, calibration = calibrated(20)
    for spread in calibration.spreads.values():
        assert (np.diff(spread.upper, axis=0) >= -1e-6).all()
        assert (np.diff(spread.lower, axis=0) <= 1e-6).all()
        assert (spread.lower <= 0).all()
        assert (spread.upper >= 0).all()
        assert (spread.num_subjects, len(spread.upper)) == (20, len(LEVELS))


def test_a_level_that_is_not_known_lists_those_that_are():
    _, calibration = calibrated(20)
    with pytest.raises(UsageError, match=r"0\.5, 0\.6, .*0\.99; found 0\.91"):
        calibration.offsets("a", 0.91)


def test_of_other_visits_the_plain_ends_stand_in_where_nobody_came_twice():
    model, calibration = calibrated(20)
    assert {mode for mode, _, _ in calibration.spreads} == {"plain", "visits"}
    train = model.preparation.apply(make_cohort(100, 1))
    once = model.preparation.apply(make_cohort(40, 2)).take(np.arange(0, 160, VISITS))
    found = calibration_of(model, train, once, seed=0)
    assert {mode for mode, _, _ in found.spreads} == {"plain"}
    for plain, visits in zip(
        found.offsets("a", 0.9).values(), found.offsets("a", 0.9, "visits").values(), strict=True
    ):
        np.testing.assert_array_equal(plain.upper, visits.upper)
    assert not found.unknown(mode="visits")


@dataclass(frozen=True)
class Remembers(KnowsNothing):
    """Says what the other visits say where there are any."""

    def reconstruct(self, cohort, layers=None):
        said = super().reconstruct(cohort, layers)
        for name, values in said.items():
            if name + SUFFIX in cohort.layers:
                visits = cohort.layers[name + SUFFIX]
                values[visits.rows] = np.nan_to_num(visits.values)
        return said


def test_a_layer_that_another_visit_has_gets_ends_of_its_own():
    raw = make_cohort(100, 1, person_sd=0.9)
    model = Remembers(fit_preparation(raw, np.arange(len(raw.samples)), PreparationConfig()))
    train = model.preparation.apply(raw)
    found = calibration_of(model, train, model.preparation.apply(make_cohort(40, 2, 0.9)), seed=0)
    plain, visits = found.offsets("a", 0.9), found.offsets("a", 0.9, "visits")
    np.testing.assert_array_equal(visits["layers"].upper, plain["layers"].upper)
    np.testing.assert_array_equal(plain["revisited"].upper, plain["layers"].upper)
    width = {task: float((ends.upper - ends.lower).mean()) for task, ends in visits.items()}
    assert width["revisited"] < 0.8 * width["layers"]


def test_nobody_to_hide_from_is_told():
    model, _ = calibrated(20)
    train = model.preparation.apply(make_cohort(100, 1))
    with pytest.raises(CohortError, match="nothing could be hidden from the 0 samples"):
        calibration_of(model, train, train.take([]), seed=0)


def test_a_layer_nobody_has_beside_another_has_no_interval_and_is_named():
    model, _ = calibrated(20)
    train = model.preparation.apply(make_cohort(100, 1))
    alone = model.preparation.apply(make_cohort(30, 2)).without("b")
    calibration = calibration_of(model, train, alone, seed=0)
    assert calibration.unknown() == [
        "a (the whole layer)",
        "b (single values)",
        "b (the whole layer)",
    ]
    assert np.isnan(calibration.offsets("b", 0.9)["values"].lower).all()


def related(num_people, seed, mixing):
    """Samples whose features go together, as measurements do."""
    rng = np.random.default_rng(seed)
    cohort = make_cohort(num_people, seed)
    layers = {}
    for name, layer in cohort.layers.items():
        values = rng.normal(size=(len(layer.rows), 2)) @ mixing[name]
        values += 0.3 * rng.normal(size=values.shape) + np.arange(WIDTHS[name])
        layers[name] = replace(layer, values=values.astype(np.float32))
    return replace(cohort, layers=layers)


@pytest.fixture(scope="module")
def measured():
    """A calibration of related features, and more samples of the same kind."""
    rng = np.random.default_rng(0)
    mixing = {name: rng.normal(size=(2, width)) for name, width in WIDTHS.items()}
    train = related(100, 1, mixing)
    preparation = fit_preparation(train, np.arange(len(train.samples)), PreparationConfig())
    held_out = preparation.apply(related(100, 2, mixing))
    model = KnowsNothing(preparation)
    calibration = calibration_of(model, preparation.apply(train), held_out, seed=0)
    return calibration.distance, preparation, related(300, 3, mixing)


def shifted(cohort, name, change):
    layer = cohort.layers[name]
    return replace(
        cohort, layers={**cohort.layers, name: replace(layer, values=change(layer.values))}
    )


def test_ordinary_samples_are_seldom_far(measured):
    distance, preparation, ordinary = measured
    table = distance.table(preparation.apply(ordinary))
    assert table["is_far"].mean() <= 2 * FAR_BELOW
    assert ((table["p_value"] > 0) & (table["p_value"] <= 1)).all()
    assert set(table["layer"]) == set(WIDTHS)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values * 1000,
        lambda values: values[:, ::-1].copy(),
        lambda values: values + 8,
        lambda values: values * np.float32(-1),
    ],
    ids=["units", "exchanged", "batch", "sign"],
)
def test_shifted_samples_are_far_and_the_layer_is_named(measured, change):
    distance, preparation, ordinary = measured
    table = distance.table(preparation.apply(shifted(ordinary, "b", change)))
    assert table["is_far"].mean() > 0.95
    assert (table.loc[table["is_far"], "layer"] == "b").mean() > 0.95


def test_only_measured_layers_count(measured):
    distance, preparation, ordinary = measured
    prepared = preparation.apply(shifted(ordinary, "b", lambda values: values * 1000))
    alone = distance.table(prepared.without("b"))
    assert alone["is_far"].mean() <= 2 * FAR_BELOW
    assert set(alone["layer"]) == {"a"}


def test_distances_of_portions_are_those_of_the_whole(measured):
    distance, preparation, ordinary = measured
    prepared: PreparedCohort = preparation.apply(ordinary)
    whole = distance.table(prepared)
    places = np.arange(len(prepared.samples))
    parts = [distance.table(prepared.take(part)) for part in np.array_split(places, 7)]
    pd.testing.assert_frame_equal(pd.concat(parts), whole, rtol=1e-6)


def test_few_known_samples_make_nobody_far(measured):
    """Of fewer than a hundred, none can be said to be as rare as one in a hundred."""
    _, preparation, ordinary = measured
    prepared = preparation.apply(ordinary)
    few, others = prepared.take(np.arange(60)), prepared.take(np.arange(60, 90))
    calibration = calibration_of(KnowsNothing(preparation), few, others, seed=0)
    odd = preparation.apply(shifted(ordinary, "b", lambda values: values * 1000))
    assert not calibration.distance.table(odd)["is_far"].any()
