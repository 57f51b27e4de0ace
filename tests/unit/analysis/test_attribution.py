import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from immo_hpc.analysis.attribution import Checks, explain
from immo_hpc.analysis.explaining.notices import notices_of
from immo_hpc.analysis.explaining.stability import Refit
from immo_hpc.analysis.randomisation import check_randomised
from immo_hpc.config import ModelConfig
from immo_hpc.data.batches import whole
from immo_hpc.errors import CohortError, UsageError
from immo_hpc.nn import ImmoModel


@dataclass
class _Model:
    """An encoder with weights as drawn: random features keep what is large in the input."""

    model: ImmoModel

    @torch.inference_mode()
    def embed(self, cohort):
        self.model.eval()
        blocks = [
            self.model.encode(
                {n: (p.values.nan_to_num(), p.rows) for n, p in batch.layers.items()}, batch.size
            ).numpy()
            for batch in whole(cohort)
        ]
        return np.concatenate(blocks)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = ModelConfig(latent_dim=24, encoder_dims=(64,), decoder_dims=(8,), dropout=0)
        return _Model(ImmoModel({"a": 30, "b": 20}, config))


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(signal=5.0, features=(30, 20), num_subjects=60)


def test_the_feature_that_carries_the_label_stands_first(model, cohort):
    result = explain(model, cohort, top=3, seed=0)
    first = result.features[result.features["rank_in_layer"] == 1].set_index("layer")["feature"]
    assert first.to_dict() == {"a": "a0", "b": "b0"}
    signal = result.features[result.features["feature"].isin(["a0", "b0"])]
    # The positive class is the last by name, 'control', which has the low values.
    assert result.classes == ("case", "control")
    assert signal["direction"].tolist() == [-1, -1]
    assert result.training_auc > 0.95
    assert result.randomised.passed, result.randomised.message
    assert result.completeness_error < 0.02


def test_tables_agree_with_each_other(model, cohort):
    result = explain(model, cohort, top=4, seed=0, steps=8)
    test = cohort.take(cohort.indices("test"))
    assert result.values.index.tolist() == test.sample_ids
    assert result.features["rank"].tolist() == list(range(1, 51))
    assert result.features["share"].sum() == pytest.approx(1)
    assert (result.top_features.groupby("layer").size() == 4).all()
    rows = test.layers["a"].rows
    block = result.values["a"].to_numpy()
    absent = np.setdiff1d(np.arange(len(test.samples)), rows)
    assert (block[absent] == 0).all()
    features = result.features[result.features["layer"] == "a"].set_index("feature")
    told = features.loc[list(test.layers["a"].features), "mean_abs"]
    # Visits are averaged within a person first.
    by_person = pd.DataFrame(np.abs(block[rows])).groupby(test.samples["person"].to_numpy()[rows])
    np.testing.assert_allclose(by_person.mean().mean(axis=0), told, rtol=1e-5)
    assert set(features["num_people"]) == {by_person.ngroups}
    layers = result.layers.set_index("layer")
    assert layers.loc["a", "num_samples"] == len(rows)
    assert layers.loc["a", "mean_abs"] == pytest.approx(told.sum())
    assert (layers["share_lower"] < layers["share"]).all()
    assert (layers["share"] < layers["share_upper"]).all()
    person = result.subjects.query("layer == 'a'").iloc[0]
    own = np.flatnonzero(test.samples["person"] == person["subject"])
    own = np.intersect1d(own, rows)
    assert person["num_samples"] == len(own)
    assert person["signed"] == pytest.approx(block[own].sum(axis=1).mean(), rel=1e-4)
    json.dumps(result.to_dict(), allow_nan=False)
    assert "values" not in result.to_dict()


def test_attribution_is_repeatable_and_leaves_generators_alone(model, cohort):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, other = (explain(model, cohort, seed=0, steps=4) for _ in range(2))
    assert one.to_dict() == other.to_dict()
    assert torch.equal(before, torch.random.get_rng_state())


def test_new_samples_without_label_or_split_are_explained(model, cohort):
    new = cohort.take([3, 4, 5]).without("b")
    new = replace(new, samples=new.samples.drop(columns="label"), split=None)
    result = explain(model, cohort, seed=0, steps=4, samples=new)
    assert result.values.index.tolist() == new.sample_ids
    assert set(result.features["layer"]) == {"a"}
    assert "Layer 'b' is measured in none of these samples" in result.notices[0]
    assert result.layers.set_index("layer").loc["b", "num_samples"] == 0


def test_several_classes_explain_each_sample_s_own(make_cohort, model):
    cohort = make_cohort(classes=("x", "y", "z"), num_subjects=60, signal=4.0, features=(30, 20))
    result = explain(model, cohort, top=2, seed=0, steps=16)
    assert result.classes == ("x", "y", "z")
    assert result.completeness_error < 0.02
    assert "a0" in result.top_features["feature"].tolist()
    without = cohort.take(cohort.indices("test"))
    without = replace(without, samples=without.samples.assign(label=None))
    guessed = explain(model, cohort, seed=0, steps=4, samples=without)
    assert guessed.features["mean_abs"].iloc[0] > 0


def test_the_product_is_explained_beside_the_latent(model, cohort):
    result = explain(model, cohort, top=3, seed=0, steps=8, checks=Checks(product=True))
    product = result.product
    first = product.features[product.features["rank_in_layer"] == 1].set_index("layer")["feature"]
    assert first.to_dict() == {"a": "a0", "b": "b0"}
    assert (product.top_features.query("feature in ['a0', 'b0']")["direction"] == -1).all()
    assert product.completeness_max < 0.01
    assert product.training_auc > 0.95
    assert product.held_out_auc.value > 0.95
    assert product.randomised.passed
    assert "labels exchanged between people" in product.randomised.message
    assert product.product is None
    assert explain(model, cohort, seed=0, steps=4).product is None


def test_refits_and_exchanges_stand_beside_each_feature(model, cohort):
    result = explain(
        model, cohort, top=3, seed=0, steps=8, checks=Checks(refits=True, permuted=4, repeats=3)
    )
    signal = result.features.set_index("feature").loc[["a0", "b0"]]
    assert (signal["top_share"] == 1).all()
    assert (signal["mean_rank"] == 1).all()
    assert (signal["sign_agreement"] == 1).all()
    assert result.stability.num_refits == 10
    assert result.retrained is None
    assert result.permutation.features.groupby("layer").size().tolist() == [8, 8]
    result = explain(model, cohort, seed=0, steps=4)
    assert (result.stability, result.permutation, result.product) == (None, None, None)
    assert "top_share" not in result.features


def test_retrained_networks_are_compared(model, cohort):
    def refit(first):
        strength = {name: np.arange(n, 0, -1.0) for name, n in (("a", 30), ("b", 20))}
        strength["a"][0] = first
        return Refit(strength, {name: np.ones(len(s), int) for name, s in strength.items()})

    checks = Checks(retrained=(refit(100.0), refit(0.0)), product=True)
    result = explain(model, cohort, top=5, seed=0, steps=4, checks=checks)
    assert result.retrained.num_refits == 2
    table = result.features.set_index("feature")
    assert table.loc[["a0", "a1", "b0"], "retrained_top_share"].tolist() == [0.5, 1, 1]
    assert result.product.retrained is None


def test_a_baseline_of_the_first_class_is_stated_and_adds_up(model, cohort):
    checks = Checks(baseline="class", product=True)
    result = explain(model, cohort, top=3, seed=0, checks=checks)
    assert "training people of class 'case'" in result.baseline
    assert result.completeness_error < 0.02
    assert result.product.completeness_max < 0.01
    # Against the mean of the cases, only the others have much to be explained.
    by_label = result.values["a"]["a0"].abs().groupby(cohort.samples["label"]).mean()
    assert by_label["control"] > 3 * by_label["case"]
    assert result.features.query("feature == 'a0'")["direction"].tolist() == [-1]


def test_a_class_baseline_needs_two_classes(make_cohort, model):
    cohort = make_cohort(classes=("x", "y", "z"), num_subjects=60, features=(30, 20))
    with pytest.raises(UsageError, match="expected two classes, found 3"):
        explain(model, cohort, seed=0, checks=Checks(baseline="class"))


@pytest.mark.parametrize(
    ("gaps", "told"),
    [([0.04, 0.04], False), ([0.02, 0.14], True), ([0.26, *[0.0] * 9], True)],
)
def test_attributions_that_do_not_add_up_are_told(cohort, gaps, told):
    lines = notices_of(cohort, np.array(gaps), 0.9)
    assert any("Attributions miss the change of the score" in line for line in lines) == told


def test_fewer_steps_add_up_less(model, cohort):
    one, many = (explain(model, cohort, seed=0, steps=n) for n in (1, 32))
    assert one.completeness_error > 10 * many.completeness_error
    for result in (one, many):
        assert result.completeness_median <= result.completeness_error <= result.completeness_max


def test_excluded_features_are_gone_and_the_difference_is_shown(model, cohort):
    checks = Checks(exclude=("a:a0", "b0", "b1?"), permuted=4, product=True)
    result = explain(model, cohort, top=3, seed=0, steps=8, checks=checks)
    for own in (result, result.product):
        gone = {"a0", "b0", *(f"b1{n}" for n in range(10))}
        assert set(own.exclusion.features["feature"]) == gone
        assert not gone & set(own.features["feature"])
        assert not gone & set(own.permutation.features["feature"])
        assert (own.features.groupby("layer")["rank_in_layer"].min() == 1).all()
        assert own.features["share"].sum() == pytest.approx(1)
        assert own.exclusion.auc_all.value > 0.95
        assert own.exclusion.auc_without == own.held_out_auc
        assert own.exclusion.difference.upper < 0
        first = own.exclusion.top.query("rank == 1").set_index("layer")
        assert first["all"].to_dict() == {"a": "a0", "b": "b0"}
        assert not set(first["without"]) & gone
        assert own.exclusion.layers["share_all"].sum() == pytest.approx(1)
    json.dumps(result.to_dict(), allow_nan=False)


def test_excluding_what_carries_nothing_changes_nothing(model, cohort):
    checks = Checks(exclude=("a1", "b1"), product=True)
    result = explain(model, cohort, top=3, seed=0, steps=4, checks=checks)
    assert abs(result.product.exclusion.difference.value) < 0.05


def test_labels_without_signal_are_noticed(make_cohort, model):
    cohort = make_cohort(signal=0.0, features=(30, 20))
    result = explain(model, cohort, seed=0, steps=4)
    assert any("hardly separates unseen subjects" in notice for notice in result.notices)


def test_equal_rankings_do_not_pass_the_check():
    generator = np.random.default_rng(0)
    block = {"a": generator.normal(size=(20, 50)) * np.arange(1, 51)}
    check = check_randomised(block, [block], top=10)
    assert (check.rank_correlation, check.top_overlap) == (pytest.approx(1), 1)
    assert check.chance_overlap == 0.2
    assert not check.passed
    assert check.message.startswith("Not passed")


def test_unlike_rankings_pass_the_check():
    generator = np.random.default_rng(0)
    trained, random = (
        {"a": generator.normal(size=(20, 200)) * generator.permutation(200)} for _ in range(2)
    )
    check = check_randomised(trained, [random], top=10)
    assert abs(check.rank_correlation) < 0.3
    assert check.passed


def test_nothing_to_compare_does_not_pass():
    check = check_randomised({"a": np.ones((4, 2))}, [{"a": np.ones((4, 2))}], top=10)
    assert np.isnan(check.rank_correlation)
    assert not check.passed


def test_wrong_calls_are_refused(model, cohort):
    with pytest.raises(UsageError, match="top=0, steps=32"):
        explain(model, cohort, top=0, seed=0)
    with pytest.raises(CohortError, match="at least one sample to explain"):
        explain(model, cohort, seed=0, samples=cohort.take([]))
    single = replace(cohort, samples=cohort.samples.assign(label="case"))
    with pytest.raises(CohortError, match="one class only"):
        explain(model, single, seed=0)
