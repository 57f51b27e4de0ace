"""Every method on tiny cohorts: the same contract, and no look at test samples."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer
from sklearn.kernel_ridge import KernelRidge

from immo_hpc.analysis.compare.contender import TASKS
from immo_hpc.analysis.compare.lowrank import LinearModel, iterative_svd, learn_pca
from immo_hpc.analysis.compare.measure import UNION, measure
from immo_hpc.analysis.compare.missing import Missing
from immo_hpc.analysis.compare.neighbours import Neighbours
from immo_hpc.analysis.compare.registry import CONTENDERS, chosen, is_there
from immo_hpc.analysis.compare.regression import Pls
from immo_hpc.analysis.compare.trial import make_trial
from immo_hpc.analysis.ridge import predict_layer
from immo_hpc.errors import UsageError

HERE = [name for name, item in CONTENDERS.items() if is_there(item)]
NETWORKS = {"autoencoder", "umint", "mofa"} | {name for name in HERE if name.startswith("immo")}
QUICK = [name for name in HERE if name not in NETWORKS]


@pytest.fixture
def trial(make_raw, tiny_config):
    return make_trial(make_raw(), tiny_config, Missing())


@pytest.mark.parametrize("name", HERE)
def test_every_method_answers_what_it_says_it_can(trial, name):
    contender = CONTENDERS[name]
    done = measure(contender, trial, TASKS)
    json.dumps(done, allow_nan=False)
    assert {task for task in TASKS if task in done} == set(contender.tasks) & set(TASKS)
    if "label" in done:
        part = done["label"]["parts"][UNION]
        data = trial.complete.take(trial.complete.indices("test"))
        assert sorted(part["subject"]) == sorted(data.subjects.unique())
        assert np.isfinite(part["scores"]).all()
        assert all(0 < value < 1 for value in part["probability"])
        assert set(done["label"]["parts"]) == {UNION, "a", "b"}
    for task in ("layers", "values"):
        for answer in done.get(task, {}).values():
            assert np.isfinite(answer["residual"]).all()
            assert min(answer["total"]) >= 0


def test_only_immo_itself_answers_with_a_companion(trial, monkeypatch):
    def refuse(*given, **named):
        pytest.fail("fitted a companion")

    monkeypatch.setattr("immo_hpc.inference.companion.companion_of", refuse)
    for name in sorted(NETWORKS & set(HERE) - {"immo", "immo_companion", "mofa"}):
        CONTENDERS[name].learn(trial.training, trial.config)
    with pytest.raises(pytest.fail.Exception):
        CONTENDERS["immo"].learn(trial.training, trial.config)


@pytest.mark.parametrize("name", ["mean", "svd", "knn", "ridge", "pls", "kernel_ridge", "immo"])
def test_what_is_learnt_does_not_depend_on_test_samples(make_raw, tiny_config, name):
    cohort = make_raw()
    trial = make_trial(cohort, tiny_config, Missing())
    test = trial.complete.indices("test")
    layers = {}
    for key, layer in cohort.layers.items():
        values = layer.values.copy()
        values[np.isin(layer.rows, test)] *= -7
        layers[key] = replace(layer, values=values)
    other = make_trial(replace(cohort, layers=layers), tiny_config, Missing())
    new = trial.complete.take(test)
    said = []
    for one in (trial, other):
        learnt = CONTENDERS[name].learn(one.training, one.config)
        said.append(learnt.layer(new.without("a"), "a"))
    np.testing.assert_array_equal(*said)


@pytest.mark.parametrize("name", ["product", "mean", "pls", "intermediate", "complete"])
def test_scores_of_the_label_do_not_depend_on_test_labels(trial, name):
    labels = trial.shown.samples["label"].to_numpy().copy()
    test = trial.shown.indices("test")
    labels[test] = np.roll(labels[test], 5)
    spoilt = replace(trial.shown, samples=trial.shown.samples.assign(label=labels))
    said = []
    for shown in (trial.shown, spoilt):
        done = measure(CONTENDERS[name], replace(trial, shown=shown), ["label"])["label"]
        part = done["parts"][UNION]
        said.append((done["setting"], sorted(part["probability"])))
    assert said[0][0] == said[1][0]
    if len(said[0][1]) == len(said[1][1]):
        np.testing.assert_allclose(said[0][1], said[1][1])


@pytest.mark.parametrize("name", ["product", "mean", "pca"])
def test_permuted_labels_are_told_apart_by_chance(make_raw, tiny_config, name):
    right = total = 0
    for seed in range(8):
        cohort = make_raw(seed=seed, visits=2, num_subjects=32)
        people = cohort.samples["person"].unique()
        drawn = np.random.default_rng(seed).permutation(np.arange(len(people)) % 2)
        label = dict(zip(people, np.array(["control", "case"])[drawn], strict=True))
        cohort = replace(
            cohort, samples=cohort.samples.assign(label=cohort.samples["person"].map(label))
        )
        trial = make_trial(cohort, tiny_config.model_copy(update={"seed": seed}), Missing())
        part = measure(CONTENDERS[name], trial, ["label"])["label"]["parts"][UNION]
        scores, y = np.array(part["scores"])[:, 0], np.array(part["y"])
        gaps = scores[y == 1][:, None] - scores[y == 0]
        right += (gaps > 0).sum() + (gaps == 0).sum() / 2
        total += gaps.size
    assert 0.33 < right / total < 0.67


def test_a_strong_label_and_a_strong_layer_are_found(make_raw, tiny_config):
    trial = make_trial(make_raw(signal=4.0, noise=0.1), tiny_config, Missing())
    for name in QUICK:
        done = measure(CONTENDERS[name], trial, TASKS)
        if "label" in done and name not in ("layers_only", "complete"):
            part = done["label"]["parts"][UNION]
            scores, y = np.array(part["scores"])[:, 0], np.array(part["y"])
            assert scores[y == 1].min() > scores[y == 0].max(), name
        # PCA takes a hidden layer for one at its mean, and so says too little of it.
        if "layers" in done and name not in ("mean", "pca"):
            for answer in done["layers"].values():
                assert 1 - sum(answer["residual"]) / sum(answer["total"]) > 0.3, name


def test_a_hidden_layer_cannot_be_looked_up(trial):
    """The truth of a hidden layer never reaches the method."""
    for name in ("knn", "svd", "ridge"):
        learnt = CONTENDERS[name].learn(trial.training, trial.config)
        test = trial.complete.take(trial.complete.indices("test"))
        spoilt = {**test.layers, "a": replace(test.layers["a"], values=test.layers["a"].values * 9)}
        said = [
            learnt.layer(cohort.without("a"), "a")
            for cohort in (test, replace(test, layers=spoilt))
        ]
        np.testing.assert_array_equal(*said)


def test_patterns_on_test_samples_are_scored_where_they_hid(make_raw, tiny_config):
    trial = make_trial(make_raw(num_subjects=120), tiny_config, Missing("mnar", 0.3, "test"))
    for name, hidden in trial.hidden_values.items():
        layer = trial.shown_test.layers[name]
        assert np.isfinite(hidden).mean() == pytest.approx(0.3, abs=0.1)
        assert np.isnan(layer.values[np.isfinite(hidden)]).all()
    complete = trial.complete.take(trial.complete.indices("train", "validation"))
    np.testing.assert_array_equal(trial.training.wide(), complete.wide())


def test_names_are_checked(monkeypatch):
    with pytest.raises(UsageError, match="'magic'; choose from layers_only, mean"):
        chosen(["mean", "magic"], TASKS)
    with pytest.raises(UsageError, match="none of ridge can be used for label"):
        chosen(["ridge"], ["label"])
    absent = replace(CONTENDERS["mofa"], needs="a_package_that_is_not_there")
    monkeypatch.setattr(
        "immo_hpc.analysis.compare.registry.CONTENDERS", {**CONTENDERS, "mofa": absent}
    )
    ready, notices = chosen(["mean", "mofa"], TASKS)
    assert [item.name for item in ready] == ["mean"]
    assert "a_package_that_is_not_there" in notices[0]
    assert "immo-hpc[peers]" in notices[0]


def test_components_given_some_features_are_those_of_the_normal_distribution(trial):
    generator = np.random.default_rng(0)
    cohort = trial.complete.take(np.arange(5))
    num_features = cohort.wide().shape[1]
    model = LinearModel(
        mean=generator.normal(size=num_features),
        loadings=generator.normal(size=(num_features, 3)),
        precision=np.array([1.0, 2.0, 0.5]),
        noise=generator.uniform(0.5, 2, size=num_features),
        place={"all": slice(None)},
    )
    for row, z in zip(cohort.wide().astype(float), model.components(cohort), strict=True):
        there = np.isfinite(row)
        loadings, prior = model.loadings[there], np.diag(1 / model.precision)
        covariance = loadings @ prior @ loadings.T + np.diag(1 / model.noise[there])
        expected = prior @ loadings.T @ np.linalg.solve(covariance, (row - model.mean)[there])
        np.testing.assert_allclose(z, expected, rtol=1e-8)


def test_iterative_svd_recovers_a_low_rank_table(make_raw, tiny_config):
    trial = make_trial(make_raw(noise=0.0, missing=0.0), tiny_config, Missing("mcar", 0.2, "both"))
    model = iterative_svd(trial.training, rank=2, seed=0)
    said = model.values(trial.shown_test)
    for name, layer in trial.shown_test.layers.items():
        hidden = trial.hidden_values[name]
        scored = np.isfinite(hidden)
        error = (said[name][layer.rows] - hidden)[scored]
        assert np.mean(error**2) < 0.02 * np.mean(hidden[scored] ** 2)


def test_pca_is_that_of_scikit_learn_on_filled_data(trial):
    learnt = learn_pca(trial.training, trial.config)
    x = np.nan_to_num(trial.training.wide() - np.nanmean(trial.training.wide(), axis=0))
    reference = PCA(4).fit(x)
    from immo_hpc.analysis.compare.lowrank import _pca

    model = _pca(trial.training, 4)
    np.testing.assert_allclose(
        np.abs(model.loadings.T @ reference.components_.T), np.eye(4), atol=0.05
    )
    assert learnt.setting.startswith("layers: ")


def test_neighbours_are_those_of_scikit_learn(trial):
    reference = trial.training.take(np.flatnonzero(trial.training.measured().all(axis=1)))
    new = trial.complete.take(trial.complete.indices("test"))
    new = new.take(new.layers["b"].rows).without("a")
    said = Neighbours(reference, 3).layer(new, "a")
    imputer = KNNImputer(n_neighbors=3).fit(reference.wide())
    expected = imputer.transform(new.wide())[:, : said.shape[1]]
    np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-5)


def test_kernel_ridge_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    x, new = generator.normal(size=(40, 5)), generator.normal(size=(7, 5))
    y = np.sin(x[:, :2])
    nobody = (np.zeros((1, 5)), np.full((1, 2), np.nan))  # The middle penalty is taken.
    said = predict_layer(x, y, nobody, new, "rbf")
    centred = x - x.mean(0)
    gamma = 1 / (2 * (centred**2).sum(1).mean())
    alpha = np.logspace(-1.5, 2, 8)[4]
    reference = KernelRidge(alpha=alpha, kernel="rbf", gamma=gamma).fit(x, y - y.mean(0))
    np.testing.assert_allclose(said, reference.predict(new) + y.mean(0), rtol=1e-6)


def test_partial_least_squares_with_fewer_components_is_a_smaller_model():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30, 8))
    y = x[:, :2] + 0.1 * generator.normal(size=(30, 2))
    whole = Pls.fit(x, y, 5)
    for number in (1, 2, 4):
        np.testing.assert_allclose(
            whole.predict(x, number), Pls.fit(x, y, number).predict(x, number), rtol=1e-6
        )
