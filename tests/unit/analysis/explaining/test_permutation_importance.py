from dataclasses import replace

import numpy as np
import pytest

from immo_hpc.analysis.attribution_tables import feature_table
from immo_hpc.analysis.explaining.fused import fused_classifier
from immo_hpc.analysis.explaining.latent import latent_classifier
from immo_hpc.analysis.explaining.permutation import balanced_loss, permutation_importance
from immo_hpc.analysis.labels import labelled_samples


def _importance(explained, cohort, *, most=0, top=3, seed=0):
    data = labelled_samples(cohort)
    samples = cohort.take(data.index[~data.training])
    target = np.zeros(len(samples.samples), dtype=np.int64)
    ranked = feature_table(explained.attribute(samples, target, 8), samples)
    return permutation_importance(
        explained,
        samples,
        data.y[~data.training],
        ranked,
        top=top,
        most=most,
        num_repeats=8,
        seed=seed,
    )


@pytest.mark.parametrize("kind", ["latent", "product"])
def test_planted_features_are_needed_and_noise_is_not(planted, network, kind):
    data = labelled_samples(planted)
    if kind == "latent":
        explained = latent_classifier(network, planted, data, 0)
    else:
        explained = fused_classifier(network, planted, data, 0)
    found = _importance(explained, planted)
    table = found.features.set_index("feature")
    assert len(table) == 50
    for signal, layer in (("a0", "a"), ("b0", "b")):
        own = table[table["layer"] == layer]
        assert own["permutation_rank"].idxmin() == signal
        # Visits of a person may lack the layer, and the other layer knows the label too.
        assert own.loc[signal, "loss_rise"] > 0.002
        noise = own.drop(index=signal)
        assert noise["loss_rise"].abs().median() < own.loc[signal, "loss_rise"] / 10
    assert found.auc > 0.95
    assert (found.layers["top"] == 3).all()
    assert (found.layers["top_needed"] >= 1).all()


def test_controls_stand_beside_the_top(planted, network):
    explained = fused_classifier(network, planted, labelled_samples(planted), 0)
    every, some = (_importance(explained, planted, most=most) for most in (0, 4))
    assert some.layers["num_tested"].tolist() == [8, 8]
    assert (some.features.groupby(["layer", "chosen"]).size() == 4).all()
    top = some.features[some.features["chosen"] == "top"]
    assert sorted(top["attribution_rank"]) == [1, 1, 2, 2, 3, 3, 4, 4]
    # What else is tested changes nothing.
    both = every.features.merge(some.features, on=["layer", "feature"])
    np.testing.assert_array_equal(both["loss_rise_x"], both["loss_rise_y"])


def test_a_layer_without_signal_needs_nothing(make_cohort, network):
    cohort = make_cohort(signal=0.0, features=(30, 20), num_subjects=60)
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    found = _importance(explained, cohort, top=10)
    # About one in twenty is beyond two standard errors, upwards one in forty.
    assert found.layers["top_needed"].sum() <= 8
    assert abs(found.features["loss_rise"].mean()) < 0.05


def test_several_classes(make_cohort, network):
    cohort = make_cohort(classes=("x", "y", "z"), num_subjects=60, signal=4.0, features=(30, 20))
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    found = _importance(explained, cohort)
    first = found.features[found.features["permutation_rank"] == 1]
    assert first["feature"].tolist() == ["a0", "b0"]


def test_the_loss_counts_classes_alike():
    y = np.array([0, 1, 1, 1])
    assert balanced_loss(np.zeros((1, 4, 1)), y)[0] == pytest.approx(np.log(2))
    scores = np.array([[[1.0], [1.0], [1.0], [-2.0]]])
    odds = np.array([1.0, -1.0, -1.0, 2.0])  # Against the truth.
    expected = np.log1p(np.exp(odds))
    assert balanced_loss(scores, y)[0] == pytest.approx(expected[0] / 2 + expected[1:].mean() / 2)


def test_a_score_that_is_too_sure_gains_nothing_from_exchanges(make_cohort, network):
    """Of labels that cannot be told: were scores taken as they are, any exchange would help."""
    cohort = make_cohort(signal=0.0, features=(30, 20), num_subjects=60, subject_effect=3.0)
    explained = fused_classifier(network, cohort, labelled_samples(cohort), 0)
    loud = {
        name: replace(reading, weight=20 * reading.weight)
        for name, reading in explained.readings.items()
    }
    found = _importance(replace(explained, readings=loud), cohort)
    assert found.loss <= np.log(2) + 1e-6
    assert found.features["loss_rise"].min() > -0.05
