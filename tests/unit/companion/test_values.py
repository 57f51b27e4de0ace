"""Single values against the dense Gaussian, in float64 and by another route."""

import numpy as np
import pytest

from immo_hpc.companion.carried import fit_carried, fit_carried_layer, fit_carried_values
from immo_hpc.companion.layers import BLOCK, LayerProcess, LayerSetting
from immo_hpc.companion.values import ValueSetting, fit_values
from immo_hpc.data.visits import with_visits


def dense_conditional(reference, cohort, name, setting, penalty):
    """Mean of the layer given all that was measured, feature covariance written out."""
    scale = {other: 1.0 if other == name else setting.others for other in reference.layers}

    def wide(part, rows):
        columns = [scale[other] * part.wide([other])[rows].astype(np.float64) for other in scale]
        return np.concatenate(columns, axis=1)

    z = wide(reference, reference.layers[name].rows)
    centre = np.nanmean(z, axis=0)
    z = np.nan_to_num(z - centre)
    signal = z.T @ z
    covariance = signal + penalty * np.eye(len(signal))
    x = wide(cohort, np.arange(len(cohort.samples))) - centre
    start = 0
    for other in reference.layers:
        if other == name:
            break
        start += len(reference.layers[other].features)
    own = slice(start, start + len(reference.layers[name].features))
    said = np.zeros((len(x), own.stop - own.start))
    for row, values in enumerate(x):
        seen = np.isfinite(values)
        inverse = np.linalg.inv(covariance[np.ix_(seen, seen)])
        said[row] = centre[own] + signal[own][:, seen] @ inverse @ values[seen]
    return said


@pytest.mark.parametrize("penalty", [0.02, 0.5])
def test_equals_the_dense_gaussian(prepared, penalty):
    cohort = prepared(missing=0.3)
    reference = cohort.take(cohort.indices("train"))
    new = cohort.take(cohort.indices("test")).without("b")
    setting = ValueSetting(penalty, others=0.6)
    model = fit_values(reference, "a", setting)
    expected = dense_conditional(reference, new, "a", setting, model.penalty)
    said = model.foretell(new, np.arange(len(new.samples)))
    np.testing.assert_allclose(said, expected, atol=1e-3)  # Conjugate gradients in float32.


def test_a_sample_is_told_the_same_beside_others(prepared):
    cohort = prepared(missing=0.3)
    model = fit_values(cohort.take(cohort.indices("train")), "a", ValueSetting(0.1))
    new = cohort.take(cohort.indices("test"))
    together = model.foretell(new, new.layers["a"].rows)
    alone = np.concatenate([model.foretell(new, row[None]) for row in new.layers["a"].rows])
    np.testing.assert_allclose(alone, together, atol=2e-5)
    assert len(together) < BLOCK


def test_deviations_from_other_visits_are_a_gaussian_of_their_own(prepared):
    cohort = with_visits(prepared(missing=0.2))
    reference, new = (cohort.take(cohort.indices(side)) for side in ("train", "test"))
    setting = ValueSetting(0.1, others=0.6)
    model = fit_carried_values(reference, "a", setting)
    x, m = (reference.wide([name]).astype(np.float64) for name in ("a", "a@visits"))
    both = np.isfinite(x) & np.isfinite(m)
    slope = (np.where(both, x * m, 0).sum(0) / np.where(both, m**2, 0).sum(0)).clip(0, 2)
    np.testing.assert_allclose(model.carried.slopes["a"], slope, rtol=1e-4)
    rows = new.layers["a"].rows
    known = np.nan_to_num(new.wide(["a@visits"])[rows]) * slope
    np.testing.assert_allclose(model.carried.said(new, "a", rows), known, atol=1e-5)
    bare = [model.carried.deviations(part) for part in (reference, new)]
    np.testing.assert_allclose(bare[1].wide(["a"])[rows], new.layers["a"].values - known, atol=1e-5)
    above = dense_conditional(*bare, "a", setting, model.regression.penalty)[rows]
    np.testing.assert_allclose(model.foretell(new, rows), known + above, atol=1e-3)


def test_a_layer_known_at_other_visits_is_what_they_say_and_foretold_deviations(prepared):
    cohort = with_visits(prepared(missing=0.2))
    reference, new = (cohort.take(cohort.indices(side)) for side in ("train", "test"))
    setting = LayerSetting(0.5, 0.0)
    model = fit_carried_layer(reference, "a", setting)
    carried = fit_carried(reference)
    bare = [carried.deviations(part) for part in (reference, new)]
    rows = np.intersect1d(new.layers["a"].rows, new.layers["a@visits"].rows)
    known = np.nan_to_num(new.wide(["a@visits"])[rows]) * carried.slopes["a"]
    above = LayerProcess(bare[0], "a", setting).foretell(bare[1], rows)
    hidden = new.without("a")
    np.testing.assert_allclose(model.foretell(hidden, rows), known + above, atol=1e-5)
    for noise, said in zip((0.5, 2.0), model.foretell_each(hidden, rows, (0.5, 2.0)), strict=True):
        alone = fit_carried_layer(reference, "a", LayerSetting(noise, 0.0))
        np.testing.assert_allclose(said, alone.foretell(hidden, rows), atol=1e-5)


def test_the_quick_answer_is_the_exact_one_where_one_value_is_missing(prepared):
    cohort = prepared(missing=0)
    reference, new = (cohort.take(cohort.indices(side)) for side in ("train", "test"))
    places = np.flatnonzero(new.measured().all(axis=1))
    new.layers["a"].values[:, 3] = np.nan
    model = fit_values(reference, "a", ValueSetting(0.1))
    exact, quick = model.foretell(new, places), model.regressed(new, places)
    np.testing.assert_allclose(quick[:, 3], exact[:, 3], atol=2e-3)


def test_missing_everything_else_is_the_mean(prepared):
    cohort = prepared()
    model = fit_values(cohort, "a", ValueSetting(0.1))
    empty = cohort.without("a", "b", "noise")
    mean = np.nanmean(cohort.layers["a"].values, axis=0)
    np.testing.assert_allclose(model.foretell(empty, np.arange(2)), [mean, mean], atol=1e-6)
