import numpy as np
import pytest
import torch

from immo_hpc.analysis.choice import fitted
from immo_hpc.analysis.classifiers import LOGISTIC
from immo_hpc.analysis.gradients import LinearHead, attribute, completeness_error

CPU = torch.device("cpu")


class _Encoder:
    """z = sum over layers of f(x W), with f the identity or tanh."""

    def __init__(self, *, curved=False):
        generator = torch.Generator().manual_seed(0)
        widths = {"a": 6, "b": 5}
        self.weight = {n: torch.randn(width, 4, generator=generator) for n, width in widths.items()}
        self.curved = curved

    def encode(self, batch, size):
        latent = torch.ones(size, 4)
        for name, (values, rows) in batch.items():
            code = values @ self.weight[name]
            latent = latent.index_add(0, rows, code.tanh() if self.curved else code)
        return latent


@pytest.fixture
def head():
    return LinearHead(torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, 0.0]]), torch.ones(2))


def test_a_linear_encoder_gives_weight_times_value(make_cohort, head):
    cohort = make_cohort(num_subjects=10)
    cohort.layers["a"].values[0, 2] = np.nan
    encoder = _Encoder()
    target = np.arange(len(cohort.samples)) % 2
    found = attribute(encoder, head, cohort, target, steps=3, device=CPU)
    for name, layer in cohort.layers.items():
        effect = (encoder.weight[name] @ head.weight.T).numpy()  # (feature, column)
        expected = np.nan_to_num(layer.values) * effect[:, target[layer.rows]].T
        np.testing.assert_allclose(found.values[name], expected, rtol=1e-4, atol=1e-6)
    assert found.values["a"][0, 2] == 0
    np.testing.assert_allclose(found.baseline, (head(torch.ones(1, 4))[0].numpy())[target])
    assert completeness_error(found, cohort) < 1e-5


def test_attributions_add_up_to_the_change_of_the_score(make_cohort, head):
    cohort = make_cohort(num_subjects=10)
    target = np.zeros(len(cohort.samples), dtype=np.int64)
    errors = [
        completeness_error(
            attribute(_Encoder(curved=True), head, cohort, target, steps=steps, device=CPU), cohort
        )
        for steps in (1, 8, 64)
    ]
    assert errors[0] > 10 * errors[1] > 10 * errors[2]
    assert errors[2] < 2e-3


def test_completeness_error_notices_a_missing_part(make_cohort, head):
    cohort = make_cohort(num_subjects=10)
    target = np.zeros(len(cohort.samples), dtype=np.int64)
    found = attribute(_Encoder(), head, cohort, target, steps=1, device=CPU)
    found.values["a"][:] = 0
    assert completeness_error(found, cohort) > 0.2


def test_samples_do_not_see_each_other(make_cohort, head, monkeypatch):
    cohort = make_cohort(num_subjects=10)
    target = np.zeros(len(cohort.samples), dtype=np.int64)
    one = attribute(_Encoder(curved=True), head, cohort, target, steps=4, device=CPU)
    monkeypatch.setattr("immo_hpc.analysis.gradients._BATCH_SIZE", 7)
    other = attribute(_Encoder(curved=True), head, cohort, target, steps=4, device=CPU)
    for name in "ab":
        np.testing.assert_allclose(one.values[name], other.values[name], rtol=1e-5, atol=1e-6)


def test_without_a_target_the_largest_score_is_explained(make_cohort, head):
    cohort = make_cohort(num_subjects=10)
    unknown = np.full(len(cohort.samples), -1)
    found = attribute(_Encoder(), head, cohort, unknown, steps=1, device=CPU)
    scores = np.stack(
        [
            attribute(_Encoder(), head, cohort, unknown * 0 + k, steps=1, device=CPU).score
            for k in (0, 1)
        ]
    )
    np.testing.assert_allclose(found.score, scores.max(axis=0))


@pytest.mark.parametrize(("classes", "num_classes"), [((0, 1), 2), ((0, 1, 2), 3), ((0, 2), 3)])
def test_the_head_scores_as_the_pipeline(classes, num_classes):
    generator = np.random.default_rng(0)
    y = np.resize(classes, 60)
    x = generator.normal(size=(60, 4)) * [1, 2, 3, 4] + y[:, None]
    pipeline = fitted(LOGISTIC.settings["C=0.01"], x, y, seed=0)
    head = LinearHead.of(pipeline, num_classes)
    scores = head(torch.from_numpy(x).float()).numpy()
    expected = pipeline.decision_function(x)
    if num_classes == 2:
        np.testing.assert_allclose(scores[:, 0], expected, rtol=1e-4, atol=1e-5)
    elif len(classes) == 3:
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(scores[:, 2], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores[:, 0], -expected, rtol=1e-4, atol=1e-5)
        assert (scores[:, 1] == 0).all()
