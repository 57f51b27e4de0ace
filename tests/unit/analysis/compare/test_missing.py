import numpy as np
import pytest

from immo_hpc.analysis.compare.missing import Missing, degrade
from immo_hpc.errors import UsageError


def _share_hidden(before, after, rows):
    had = hidden = 0
    for name, layer in before.layers.items():
        own = np.isin(layer.rows, rows)
        was = np.isfinite(layer.values[own])
        now = np.isfinite(after.layers[name].values[own])
        had, hidden = had + was.sum(), hidden + (was & ~now).sum()
    return hidden / had


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(num_subjects=120, features=(20, 15))


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_values_are_hidden_at_the_rate(cohort, mechanism, rate):
    shown = degrade(cohort, Missing(mechanism, rate, "both"), seed=0)
    everyone = np.arange(len(cohort.samples))
    assert _share_hidden(cohort, shown, everyone) == pytest.approx(rate, abs=0.04)


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar", "block", "own"])
@pytest.mark.parametrize("where", ["train", "test"])
def test_only_the_named_side_is_touched(cohort, mechanism, where):
    shown = degrade(cohort, Missing(mechanism, 0.5, where), seed=1)
    touched = {"train": ("train", "validation"), "test": ("test",)}
    other = {"train": "test", "test": "train"}[where]
    before, after = (one.take(cohort.indices(*touched[other])) for one in (cohort, shown))
    for name in cohort.layers:
        np.testing.assert_array_equal(before.layers[name].rows, after.layers[name].rows)
        np.testing.assert_array_equal(before.layers[name].values, after.layers[name].values)
    before, after = (one.take(cohort.indices(*touched[where])) for one in (cohort, shown))
    assert np.isfinite(after.wide()).sum() < np.isfinite(before.wide()).sum()


def test_nothing_is_made_up(cohort):
    for mechanism in ("mcar", "mar", "mnar", "block", "own"):
        shown = degrade(cohort, Missing(mechanism, 0.5, "both"), seed=2).wide()
        known = np.isfinite(shown)
        np.testing.assert_array_equal(shown[known], cohort.wide()[known])


def test_mnar_hides_what_is_low_by_a_limit_of_the_training_side(cohort):
    shown = degrade(cohort, Missing("mnar", 0.3, "both"), seed=0)
    before, after = cohort.wide(), shown.wide()
    train = cohort.indices("train", "validation")
    for column in range(before.shape[1]):
        limit = np.nanquantile(before[train, column], 0.3)
        hidden = np.isfinite(before[:, column]) & np.isnan(after[:, column])
        assert (before[hidden, column] < limit).all()
        assert not (after[:, column] < limit).any()


def test_mar_depends_on_values_that_stay(cohort):
    shown = degrade(cohort, Missing("mar", 0.3, "both"), seed=0)
    for name, layer in cohort.layers.items():
        hidden = np.isnan(shown.layers[name].values)
        drivers = np.flatnonzero(~hidden.any(axis=0))
        assert len(drivers) == round(0.1 * len(layer.features))
        drive = layer.values[:, drivers].mean(axis=1)
        assert np.corrcoef(drive, hidden.mean(axis=1))[0, 1] > 0.6


def test_mcar_depends_on_nothing(cohort):
    shown = degrade(cohort, Missing("mcar", 0.3, "both"), seed=0)
    for name, layer in cohort.layers.items():
        hidden = np.isnan(shown.layers[name].values)
        assert abs(np.corrcoef(layer.values.ravel(), hidden.ravel())[0, 1]) < 0.05


def test_blocks_leave_every_sample_a_layer(cohort):
    shown = degrade(cohort, Missing("block", 0.9, "both"), seed=0)
    before, after = cohort.measured(), shown.measured()
    assert (after <= before).all()
    assert after.any(axis=1).all()
    several = before.sum(axis=1) > 1
    assert (after[several].sum(axis=1) == 1).mean() > 0.7


def test_own_gives_samples_the_pattern_of_others(cohort):
    shown = degrade(cohort, Missing("own", 1.0, "both"), seed=0)
    before, after = cohort.measured(), shown.measured()
    assert after.any(axis=1).all()
    assert (after <= before).all()
    # A sample with both layers keeps both as often as samples of the cohort have both.
    both = before.all(axis=1)
    assert after[both].all(axis=1).mean() == pytest.approx(both.mean(), abs=0.08)


def test_a_seed_gives_one_pattern(cohort):
    for mechanism in ("mcar", "mar", "mnar", "block", "own"):
        missing = Missing(mechanism, 0.4, "both")
        one, same, other = (degrade(cohort, missing, seed).wide() for seed in (3, 3, 4))
        np.testing.assert_array_equal(one, same)
        assert mechanism == "mnar" or not np.array_equal(np.isnan(one), np.isnan(other))


@pytest.mark.parametrize("text", ["none", "mcar:0.1:train", "own:1:test", "block:0.5:both"])
def test_patterns_are_read_as_they_are_written(text):
    assert str(Missing.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "mcar", "mcar:", "mcar:0", "mcar:1", "mcar:x", "mcar:0.1:all", "nmar:0.1", "a:b:c:d"],
)
def test_other_patterns_are_refused_with_those_there_are(text):
    with pytest.raises(UsageError, match=r"mcar, mar, mnar, block, own"):
        Missing.parse(text)
