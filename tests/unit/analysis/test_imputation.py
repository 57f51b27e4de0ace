import json
from dataclasses import replace

import numpy as np
import pytest

from immo_hpc.analysis.imputation import score_imputation
from immo_hpc.errors import CohortError, UsageError


class _Imputer:
    """Says what ``table`` (samples x all features) holds, or 0; remembers what it was shown."""

    def __init__(self, cohort, table=None):
        self.wide = np.zeros((len(cohort.samples), 11)) if table is None else table
        self.place = {name: place for place, name in enumerate(cohort.sample_ids)}
        self.shown = []

    def reconstruct(self, cohort, layers=None):
        self.shown.append(cohort)
        rows = [self.place[name] for name in cohort.sample_ids]
        columns = {"a": slice(0, 6), "b": slice(6, 11)}
        return {name: self.wide[rows, columns[name]] for name in layers or cohort.layers}


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(num_subjects=60, subject_effect=0.0, missing=0.2)


def test_an_oracle_scores_one_and_the_mean_zero(cohort):
    oracle = _Imputer(cohort, np.nan_to_num(cohort.wide()))
    result = score_imputation(oracle, cohort, seed=0)
    by_method = result.scores.set_index(["task", "layer", "method"])
    assert len(by_method) == 12
    for task in ("values", "layers"):
        for layer in "ab":
            best, mean = (by_method.loc[(task, layer, method)] for method in ("immo", "mean"))
            for measure in ("r2", "r2_lower", "r2_upper", "pearson", "spearman"):
                assert best[measure] == pytest.approx(1)
                assert mean[measure] == 0
            assert best["rmse"] == pytest.approx(0)
    assert result.ridge_wins == ()
    assert (result.differences["lower"] > 0).all()
    assert "a R² 1.000" in result.verdict
    assert "better than ridge" in result.verdict


def test_ridge_wins_where_it_does(cohort):
    # A layer that is a copy of the other, up to noise: linear, so ridge must find it.
    a, b = cohort.layers["a"], cohort.layers["b"]
    everywhere = np.random.default_rng(0).normal(size=(len(cohort.samples), 6)).astype(np.float32)
    layers = {
        "a": replace(a, values=everywhere[a.rows]),
        "b": replace(b, values=everywhere[b.rows][:, :5]),
    }
    cohort = replace(cohort, layers=layers)
    result = score_imputation(_Imputer(cohort), cohort, seed=0)
    ridge = result.scores[
        (result.scores["method"] == "ridge") & (result.scores["task"] == "layers")
    ]
    assert ridge.set_index("layer").loc["b", "r2"] > 0.9
    assert {("layers", "a"), ("layers", "b")} <= set(result.ridge_wins)
    assert "no better than the mean" in result.verdict


def test_what_is_hidden_is_not_shown(cohort):
    imputer = _Imputer(cohort)
    result = score_imputation(imputer, cohort, seed=0, hidden_share=0.3)
    values, *layers = imputer.shown
    test = set(np.array(cohort.sample_ids)[cohort.split == "test"])
    assert set(values.sample_ids) == test
    count = {"a": 0, "b": 0}
    whole = cohort.take(cohort.indices("test"))
    for name in "ab":
        shown, full = values.layers[name].values, whole.layers[name].values
        same = np.isnan(shown) | (shown == full)
        assert same.all()
        count[name] = int((np.isnan(shown) & np.isfinite(full)).sum())
        assert 0.2 < count[name] / full.size < 0.4
    told = result.scores[(result.scores["task"] == "values") & (result.scores["method"] == "immo")]
    assert dict(zip(told["layer"], told["num_values"], strict=True)) == count
    for name, shown in zip("ab", layers, strict=True):
        assert not len(shown.layers[name].rows)
        assert set(shown.sample_ids) < test
        other = "b" if name == "a" else "a"
        assert len(shown.layers[other].rows) == len(shown.samples)


def test_the_seed_decides_what_is_hidden(cohort):
    one, same, other = (
        score_imputation(_Imputer(cohort), cohort, seed=seed).to_dict() for seed in (0, 0, 1)
    )
    assert one == same
    assert one["scores"] != other["scores"]
    json.dumps(one, allow_nan=False)


def test_test_samples_do_not_reach_the_fit_of_ridge(cohort, monkeypatch):
    fits = []

    def record(*arguments):
        *fit, new_x = arguments
        fits[-1] += [table for part in fit for table in (part if type(part) is tuple else [part])]
        return np.zeros((len(new_x), 11 if len(arguments) == 3 else arguments[1].shape[1]))

    monkeypatch.setattr("immo_hpc.analysis.hiding.predict_values", record)
    monkeypatch.setattr("immo_hpc.analysis.hiding.predict_layer", record)
    for factor in (1, 100):
        layers = {
            name: replace(
                layer,
                values=np.where((cohort.split == "test")[layer.rows, None], factor, 1)
                * layer.values,
            )
            for name, layer in cohort.layers.items()
        }
        fits.append([])
        score_imputation(_Imputer(cohort), replace(cohort, layers=layers), seed=0)
    assert len(fits[0]) == 2 * 3 + 2 * 4
    for one, other in zip(*fits, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_cohort_without_validation_subjects_is_scored(cohort):
    split = np.where(cohort.split == "validation", "train", cohort.split)
    result = score_imputation(_Imputer(cohort), replace(cohort, split=split), seed=0)
    assert np.isfinite(result.scores["r2"]).all()


def test_layers_that_cannot_be_scored_are_said(cohort):
    test = cohort.split == "test"
    a = cohort.layers["a"]
    held = ~test[a.rows]
    layers = {
        **cohort.layers,
        "a": replace(a, values=a.values[held], rows=a.rows[held], scale=a.scale[held]),
    }
    result = score_imputation(_Imputer(cohort), replace(cohort, layers=layers), seed=0)
    assert set(result.scores["layer"]) == {"b"}
    assert result.notices == (
        "Layer 'a' could not be scored as a hidden layer: no test or no train sample has it "
        "beside another one.",
        "Layer 'b' could not be scored as a hidden layer: no test or no train sample has it "
        "beside another one.",
        "Layer 'a' could not be scored on hidden values: no test or no train sample has it.",
    )


def test_wrong_calls_are_refused(cohort):
    with pytest.raises(UsageError, match="between 0 and 1, found 1"):
        score_imputation(_Imputer(cohort), cohort, seed=0, hidden_share=1)
    with pytest.raises(CohortError, match="on the test side of the split, found none"):
        score_imputation(_Imputer(cohort), replace(cohort, split=None), seed=0)
    learnt = cohort.take(cohort.indices("train"))
    with pytest.raises(CohortError, match="on the test side of the split, found none"):
        score_imputation(_Imputer(cohort), learnt, seed=0)
    nothing = cohort.without("a", "b")
    with pytest.raises(CohortError, match="nothing could be hidden and scored"):
        score_imputation(_Imputer(cohort), nothing, seed=0)
