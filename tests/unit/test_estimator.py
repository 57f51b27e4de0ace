"""IMMO keeps scikit-learn's habits, and takes and gives what users have."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import Pipeline

from immo_hpc import IMMO
from immo_hpc.config import ImmoConfig
from immo_hpc.errors import CohortError, ConfigError, OutputError, UsageError
from immo_hpc.estimator.params import config_of, params_of
from immo_hpc.inference import TrainedModel

KINDS = {"mg": "composition", "mb": "intensity", "cl": "continuous"}


def small(**params):
    """An estimator that trains within a fraction of a second."""
    defaults = {
        "latent_dim": 4,
        "encoder_dims": (8,),
        "decoder_dims": (8,),
        "dropout": 0.0,
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.01,
        "kinds": KINDS,
        "device": "cpu",
        "random_state": 0,
    }
    return IMMO(**{**defaults, **params})


def make_wide(num_samples=60, seed=0):
    """Wide table of three layers that share two factors, its labels and its subjects."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(num_samples, 2))

    def part(width):
        return factors @ rng.normal(size=(2, width)) + 0.3 * rng.normal(size=(num_samples, width))

    shares = np.exp(part(6))
    tables = {
        "mg": 100 * shares / shares.sum(axis=1, keepdims=True),
        "mb": np.exp(10 + part(5)),
        "cl": part(4),
    }
    ids = [f"v{number}" for number in range(num_samples)]
    frames = {
        name: pd.DataFrame(
            values.astype(np.float32), ids, [f"{name}{n}" for n in range(values.shape[1])]
        )
        for name, values in tables.items()
    }
    wide = pd.concat(frames, axis=1, names=["layer", "feature"])
    wide.loc[rng.random(num_samples) < 0.4, "mb"] = np.nan
    wide.loc[rng.random(num_samples) < 0.3, "cl"] = np.nan
    wide.loc[ids[::7], ("mb", "mb1")] = np.nan
    labels = (factors[:, 0] > 0).astype(int)
    groups = np.array([f"p{number // 2}" for number in range(num_samples)])
    return wide, labels, groups


def as_tables(wide):
    return {name: wide[name].dropna(how="all") for name in ("mg", "mb", "cl")}


@pytest.fixture(scope="module")
def wide():
    return make_wide()[0]


@pytest.fixture(scope="module")
def fitted(wide):
    return small().fit(wide)


# scikit-learn's habits


def test_parameters_are_only_stored():
    params = {"latent_dim": np.int64(7), "encoder_dims": [3, 4], "p0": {"mg": 0.5}, "kinds": KINDS}
    immo = IMMO(**params)
    for name, value in params.items():
        assert immo.get_params()[name] is value
    assert vars(immo).keys() == immo.get_params().keys()


def test_clone_and_set_params(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")
    assert copy.set_params(latent_dim=2).latent_dim == 2
    assert fitted.latent_dim == 4


@pytest.mark.parametrize(
    "use",
    [
        lambda immo, X: immo.transform(X),
        lambda immo, X: immo.impute(X),
        lambda immo, X: immo.generate(X, source=["mg"], target="mb"),
        lambda immo, X: immo.score(X),
        lambda immo, X: immo.save("nowhere"),
        lambda immo, X: immo.get_feature_names_out(),
    ],
)
def test_using_it_before_fit_is_an_error(use, wide):
    with pytest.raises(NotFittedError):
        use(small(), wide)


def test_fitting_sets_the_attributes(fitted, wide):
    assert isinstance(fitted.model_, TrainedModel)
    assert fitted.preparation_ is fitted.model_.preparation
    assert fitted.config_.model.latent_dim == 4
    assert fitted.config_.seed == 0
    assert set(fitted.layers_) == {"mg", "mb", "cl"}
    assert fitted.n_features_in_ == 15
    assert fitted.feature_names_in_[0] == "mg:mg0"
    assert fitted.n_iter_ == len(fitted.history_) == 3
    assert {"epoch", "loss", "validation", "keep.mg"} <= set(fitted.history_.columns)
    assert np.isfinite(fitted.history_["loss"]).all()


def test_transform_is_float32_with_names(fitted, wide):
    latent = fitted.transform(wide)
    assert latent.shape == (60, 4)
    assert latent.dtype == np.float32
    assert list(fitted.get_feature_names_out()) == ["immo_0", "immo_1", "immo_2", "immo_3"]


def test_output_as_pandas_carries_the_sample_names(fitted, wide):
    latent = fitted.transform(wide)
    framed = clone(fitted).set_output(transform="pandas").fit(wide)
    for X in (wide, as_tables(wide)):
        frame = framed.transform(X)
        assert list(frame.index) == list(wide.index)
        assert list(frame.columns) == list(fitted.get_feature_names_out())
        np.testing.assert_array_equal(frame.to_numpy(), latent)
    with sklearn.config_context(transform_output="pandas"):
        assert list(fitted.transform(as_tables(wide)).index) == list(wide.index)


def test_the_same_seed_gives_the_same_latent(fitted, wide):
    np.testing.assert_array_equal(clone(fitted).fit(wide).transform(wide), fitted.transform(wide))
    other = clone(fitted).set_params(random_state=1).fit(wide)
    assert not np.array_equal(other.transform(wide), fitted.transform(wide))


def test_a_new_seed_is_drawn_without_one_and_kept(wide):
    first, second = (small(random_state=None, epochs=1).fit(wide) for _ in range(2))
    assert first.config_.seed != second.config_.seed
    again = small(random_state=first.config_.seed, epochs=1).fit(wide)
    np.testing.assert_array_equal(again.transform(wide), first.transform(wide))


def test_global_random_states_are_left_alone(wide):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - global
    small(random_state=None, epochs=1, dropout=0.3).fit(wide).transform(wide)
    torch.testing.assert_close(torch.get_rng_state(), torch_state, rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002 - global


def test_a_pipeline_is_cross_validated_by_subject():
    wide, labels, groups = make_wide(80)
    pipeline = Pipeline([("immo", small(epochs=15)), ("classifier", LogisticRegression())])
    scores = cross_val_score(pipeline, wide, labels, groups=groups, cv=GroupKFold(3))
    assert scores.mean() > 0.8


def test_groups_reach_fit_by_metadata_routing():
    wide, labels, groups = make_wide()
    with sklearn.config_context(enable_metadata_routing=True):
        immo = small(epochs=1).set_fit_request(groups=True)
        pipeline = Pipeline([("immo", immo), ("classifier", LogisticRegression())])
        scores = cross_val_score(
            pipeline, wide, labels, params={"groups": groups}, cv=GroupKFold(2), error_score="raise"
        )
        fitted = pipeline.fit(wide, labels, groups=groups)
    assert len(scores) == 2
    assert fitted["immo"].model_.roles.subject == "subject_id"


def test_a_grid_search_chooses_by_score(wide):
    search = GridSearchCV(small(), {"latent_dim": [1, 4]}, cv=2, error_score="raise").fit(wide)
    assert search.best_params_["latent_dim"] in (1, 4)
    assert search.best_estimator_.transform(wide).shape[1] == search.best_params_["latent_dim"]


def test_a_fitted_estimator_is_pickled(fitted, wide, tmp_path):
    joblib.dump(fitted, tmp_path / "immo.joblib")
    for again in (joblib.load(tmp_path / "immo.joblib"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.transform(wide), fitted.transform(wide))


def test_score_is_higher_for_a_model_that_has_learnt(wide):
    # The network's own score: what is fitted beside it foretells well after one epoch already.
    def alone(epochs):
        return small(epochs=epochs, companion=False)

    unseen = make_wide(40, seed=1)[0]
    learnt = alone(60).fit(pd.concat([wide, unseen.rename(lambda name: f"u{name}")]))
    assert alone(1).fit(wide).score(wide) < learnt.score(wide) < 1
    assert learnt.score(wide) == learnt.score(wide)
    assert learnt.score(wide) > 0.2


# groups


def test_groups_may_be_given_by_position_or_by_name(wide):
    groups = make_wide()[2]
    by_place = small().fit(wide, groups=groups)
    named = pd.Series(groups, index=wide.index).sample(frac=1, random_state=0)
    by_name = small().fit(as_tables(wide), groups=named)
    assert by_place.model_.roles.subject == "subject_id"
    np.testing.assert_array_equal(by_place.transform(wide), by_name.transform(wide))


@pytest.mark.parametrize(
    ("groups", "message"),
    [(["a"] * 3, r"each of the 60 samples; found 3"), ([None] + ["a"] * 59, r"missing for 'v0'")],
)
def test_groups_that_do_not_fit_are_refused(groups, message, wide):
    with pytest.raises(UsageError, match=message):
        small().fit(wide, groups=groups)


# containers


def test_every_container_gives_the_same(fitted, wide):
    tables = as_tables(wide)
    latent = fitted.transform(wide)
    np.testing.assert_array_equal(fitted.transform(tables), latent)
    np.testing.assert_array_equal(small().fit(tables).transform(wide), latent)


def test_a_folder_and_its_cohort_are_read(fitted, wide, tmp_path):
    from immo_hpc.data.read import read_cohort

    for name, table in as_tables(wide).items():
        table.rename_axis("sample_id").to_csv(tmp_path / f"{name}.csv")
    pd.DataFrame(index=wide.index.rename("sample_id")).assign(site="A").to_csv(
        tmp_path / "samples.tsv", sep="\t"
    )
    latent = fitted.transform(wide)
    cohort = read_cohort(tmp_path)
    place = pd.Index(cohort.sample_ids).get_indexer(wide.index)
    np.testing.assert_array_equal(fitted.transform(cohort)[place], latent)
    np.testing.assert_array_equal(fitted.transform(str(tmp_path))[place], latent)
    assert set(fitted.impute(cohort)) == {"mg", "mb", "cl"}


@pytest.mark.parametrize("X", [np.zeros((3, 2)), [[1.0]], 3, None])
def test_other_containers_are_refused(X):
    with pytest.raises(UsageError, match="two-level columns"):
        small().fit(X)


def test_a_flat_table_is_explained(wide):
    with pytest.raises(CohortError, match=r"pandas\.concat"):
        small().fit(wide["mg"])


def test_a_mapping_of_something_else_is_refused():
    with pytest.raises(UsageError, match=r"X\['mg'\] must be a DataFrame; found ndarray"):
        small().fit({"mg": np.zeros((3, 2))})


def test_doubled_samples_are_named(wide):
    with pytest.raises(CohortError, match="'v3' come more than once"):
        small().fit(pd.concat([wide, wide.loc[["v3"]]]))


def test_a_layer_without_any_value_is_left_out_and_said(wide):
    empty = wide.copy()
    empty["cl"] = np.nan
    immo = small(kinds=None).fit(empty)
    assert list(immo.layers_) == ["mg", "mb"]
    assert any("cl: no sample has a value" in notice for notice in immo.notices_)
    with pytest.warns(UserWarning, match="ignored 'cl'"):
        immo.transform(wide)


def test_text_in_a_table_is_named(fitted, wide):
    text = as_tables(wide)
    text["cl"] = text["cl"].astype(object)
    text["cl"].iloc[2, 1] = "high"
    with pytest.raises(CohortError, match=r"layer 'cl'.*'cl1'.*high"):
        fitted.transform(text)


def test_samples_without_any_value_are_named(fitted, wide):
    empty = wide.copy()
    empty.loc["v5"] = np.nan
    with pytest.raises(CohortError, match="1 of 60 samples have no measured value.*'v5'"):
        fitted.transform(empty)
    with pytest.raises(CohortError, match="'v5'"):
        small().fit(empty)


def test_kinds_must_be_kinds_of_layers_there(wide):
    with pytest.raises(UsageError, match="composition, counts"):
        small(kinds={"mg": "species"}).fit(wide)
    with pytest.raises(UsageError, match="kinds names 'mx'"):
        small(kinds={"mx": "counts"}).fit(wide)


# new samples


def test_new_samples_bring_what_they_have(fitted, wide):
    tables = as_tables(wide)
    rng = np.random.default_rng(0)
    order = rng.permutation(6)
    strange = tables["mg"].iloc[:10, order].assign(unseen=1.0)
    with pytest.warns(UserWarning, match=".") as told:
        latent = fitted.transform(
            {"mg": strange, "notes": pd.DataFrame({"text": ["a"]}, index=["v1"])}
        )
    sentences = " ".join(str(warning.message) for warning in told)
    for name in ("unseen", "'notes'", "'mb'", "'cl'"):
        assert name in sentences
    part = wide.iloc[:10].copy()
    part[["mb", "cl"]] = np.nan  # columns that are there but empty are no news
    np.testing.assert_array_equal(latent, fitted.transform(part))


def test_a_missing_feature_is_told_and_counts_as_missing(fitted, wide):
    missing = wide.drop(columns=[("cl", "cl2")])
    blank = wide.copy()
    blank[("cl", "cl2")] = np.nan
    with pytest.warns(UserWarning, match="cl2"):
        latent = fitted.transform(missing)
    np.testing.assert_array_equal(latent, fitted.transform(blank))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(index=st.lists(st.integers(0, 59), min_size=1, max_size=8, unique=True))
def test_a_sample_alone_gets_its_row_of_the_batch(fitted, wide, index):
    np.testing.assert_allclose(
        fitted.transform(wide.iloc[index]), fitted.transform(wide)[index], rtol=0, atol=1e-6
    )


# imputing and generating


def test_imputing_a_wide_table_keeps_what_was_measured(fitted, wide):
    complete, mask = fitted.impute(wide, return_mask=True)
    assert list(complete.index) == list(wide.index)
    assert complete.columns.equals(wide.columns)
    assert complete.columns.names == ["layer", "feature"]
    assert not complete.isna().any(axis=None)
    pd.testing.assert_frame_equal(mask, wide.isna())
    pd.testing.assert_frame_equal(complete.where(~mask), wide)
    assert (complete[["mg", "mb"]] >= 0).all(axis=None)
    pd.testing.assert_frame_equal(fitted.impute(wide), complete)


def test_row_labels_of_any_type_come_back(fitted, wide):
    numbered = wide.reset_index(drop=True)
    assert list(fitted.impute(numbered).index) == list(range(60))
    frame = fitted.generate(numbered, source=["mb"], target="mg")
    assert list(frame.index) == list(np.flatnonzero(wide["mb"].notna().any(axis=1)))


def test_imputing_tables_gives_tables(fitted, wide):
    values, mask = fitted.impute(as_tables(wide), return_mask=True)
    complete = fitted.impute(wide)
    for name, frame in values.items():
        assert list(frame.index) == list(wide.index)
        np.testing.assert_array_equal(frame.to_numpy(), complete[name].to_numpy())
        np.testing.assert_array_equal(mask[name].to_numpy(), wide[name].isna().to_numpy())


def test_a_hidden_layer_is_imputed_in_its_units_better_than_by_the_mean():
    wide = make_wide(120)[0]
    immo = small(epochs=80, latent_dim=8, encoder_dims=(32,), decoder_dims=(32,)).fit(wide)
    has = wide["cl"].notna().all(axis=1)
    hidden = wide[has].copy()
    hidden["cl"] = np.nan
    guess = immo.impute(hidden)["cl"]
    truth = wide.loc[has, "cl"]
    assert ((guess - truth) ** 2).to_numpy().mean() < 0.7 * truth.var().mean()


def test_generating_uses_the_source_alone(fitted, wide):
    frame = fitted.generate(wide, source=["mb"], target="mg")
    assert list(frame.index) == list(wide.index[wide["mb"].notna().any(axis=1)])
    assert list(frame.columns) == list(wide["mg"].columns)
    changed = wide.copy()
    changed["cl"] = 100.0
    changed["mg"] = 1.0
    pd.testing.assert_frame_equal(fitted.generate(changed, source=["mb"], target="mg"), frame)
    with pytest.raises(UsageError, match="no layer 'mx'"):
        fitted.generate(wide, source=["mx"], target="mg")


# saving


def test_saving_and_loading_changes_no_bit(fitted, wide, tmp_path):
    fitted.save(tmp_path / "model")
    again = IMMO.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(again.transform(wide), fitted.transform(wide))
    pd.testing.assert_frame_equal(again.impute(wide), fitted.impute(wide))
    pd.testing.assert_frame_equal(again.history_, fitted.history_)
    assert again.n_iter_ == fitted.n_iter_
    assert config_of(again.get_params()) == fitted.config_
    np.testing.assert_array_equal(clone(again).fit(wide).transform(wide), fitted.transform(wide))
    with pytest.raises(OutputError, match="not empty"):
        fitted.save(tmp_path / "model")


# MuData


def test_mudata_in_and_out(fitted, wide):
    mudata = pytest.importorskip("mudata")
    import anndata

    modalities = {
        name: anndata.AnnData(
            X=table.to_numpy(),
            obs=pd.DataFrame(index=table.index),
            var=pd.DataFrame(index=table.columns),
        )
        for name, table in as_tables(wide).items()
    }
    with mudata.set_options(pull_on_update=False):
        mdata = mudata.MuData(modalities)
    place = wide.index.get_indexer(mdata.obs_names)
    np.testing.assert_array_equal(fitted.transform(mdata), fitted.transform(wide)[place])
    complete = fitted.impute(mdata)
    assert list(complete.mod) == ["mg", "mb", "cl"]
    expected = fitted.impute(wide)
    for name, modality in complete.mod.items():
        rows = wide.index.get_indexer(modality.obs_names)
        np.testing.assert_array_equal(modality.X, expected[name].to_numpy()[rows])
        np.testing.assert_array_equal(
            modality.layers["immo_imputed"], wide[name].isna().to_numpy()[rows]
        )
    np.testing.assert_array_equal(
        complete.obsm["X_immo"], fitted.transform(wide)[wide.index.get_indexer(complete.obs_names)]
    )


# parameters


def test_parameters_become_the_configuration():
    params = IMMO(p0={"mb": 0.5}, growth=0.1, layer_weights={"mb": 2}, random_state=3).get_params()
    config = config_of(params)
    assert config.mask.values_by_layer["mb"].p0 == 0.5
    assert config.mask.values_by_layer["mb"].growth == 0.1
    assert config.mask.values.p0 == 0.75
    assert config.loss.weights == {"mb": 2}
    assert config.seed == 3
    assert config.split.test_fraction == 0
    assert config_of(params_of(config) | {"kinds": None}) == config


def test_default_parameters_are_the_default_configuration():
    config = config_of(IMMO(random_state=0).get_params())
    assert config == ImmoConfig.model_validate({"split": {"test_fraction": 0}})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"latent_dim": 0}, "model.latent_dim"),
        ({"loss_scope": "all"}, "loss.scope"),
        ({"p0": 0.9, "p_max": 0.5}, "p0"),
        ({"layer_weights": {"nothing": 1.0}}, "nothing"),
        ({"device": "abacus"}, "abacus"),
        ({"random_state": -1}, "seed"),
    ],
)
def test_wrong_parameters_are_told_at_fit(params, message, wide):
    with pytest.raises(ConfigError, match=message):
        small(**params).fit(wide)


@pytest.mark.parametrize("value", ["zero", 1.5, True])
def test_a_random_state_of_another_type_is_refused(value, wide):
    with pytest.raises(UsageError, match="random_state"):
        small(random_state=value).fit(wide)


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_numpy_generators_are_accepted(make, wide):
    first, second = (small(random_state=make(5), epochs=1).fit(wide) for _ in range(2))
    np.testing.assert_array_equal(first.transform(wide), second.transform(wide))


# Intervals and distances


def test_imputed_values_lie_in_their_intervals(wide):
    immo = small(validation_fraction=0.4).fit(wide)
    values, imputed = immo.impute(wide, return_mask=True)
    lower, upper = immo.impute_interval(wide, 0.8)
    for end in (lower, upper):
        assert end.shape == values.shape
        assert end.columns.equals(values.columns)
        assert end.index.equals(wide.index)
        assert end.where(~imputed).equals(values.where(~imputed))
    assert ((lower <= values) & (values <= upper)).all(axis=None)
    values, others = immo.impute(wide, visits=False), immo.impute_interval(wide, 0.8, visits=False)
    assert ((others[0] <= values) & (values <= others[1])).all(axis=None)
    tables = immo.impute_interval(as_tables(wide), 0.8)
    assert [set(table) for table in tables] == [{"mg", "mb", "cl"}] * 2


def test_distances_of_a_frame_have_its_rows(wide):
    immo = small(validation_fraction=0.4).fit(wide)
    far = immo.distances(wide)
    assert list(far) == ["distance", "layer", "p_value", "is_far"]
    assert far.index.equals(wide.index)
    assert far["p_value"].between(0, 1).all()


def test_intervals_need_somebody_held_out(wide):
    immo = small(validation_fraction=0.0).fit(wide)
    with pytest.raises(UsageError, match="no calibration"):
        immo.impute_interval(wide)
    with pytest.raises(UsageError, match=r"0\.5, 0\.6.*found 0\.123"):
        small(validation_fraction=0.4).fit(wide).impute_interval(wide, 0.123)
