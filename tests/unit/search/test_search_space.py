"""The search space: what it holds, what it refuses, and the configuration of a point."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from immo_hpc.config import ImmoConfig, load_config
from immo_hpc.errors import ConfigError
from immo_hpc.search import suggest as suggesting
from immo_hpc.search.build import build_space, paper_optimum
from immo_hpc.search.dimension import Dimension
from immo_hpc.search.simplex import shares_of, weights_of
from immo_hpc.search.space import Space, space_from_dict
from immo_hpc.search.suggest import Question, Seen, suggest

LAYERS = ["mg", "mt", "mb"]


def space_of(*texts, layers=LAYERS, base=None, **more):
    return build_space(layers, base or ImmoConfig(), texts=texts, **more)[0]


@given(st.lists(st.floats(0, 1), min_size=0, max_size=6))
def test_shares_give_weights_on_the_simplex(shares):
    weights = weights_of(shares)
    assert len(weights) == len(shares) + 1
    assert min(weights) >= 0
    assert math.isclose(sum(weights), 1, rel_tol=1e-12)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
def test_shares_of_weights_give_them_back(raw):
    weights = [value / sum(raw) for value in raw]
    np.testing.assert_allclose(weights_of(shares_of(weights)), weights, atol=1e-9)


def test_uniform_shares_are_uniform_on_the_simplex():
    rng = np.random.default_rng(0)
    drawn = np.array([weights_of(row) for row in rng.random((4000, 3))])
    # Each coordinate of a uniform point of the simplex of four is Beta(1, 3).
    for column in drawn.T:
        assert stats.kstest(column, stats.beta(1, 3).cdf).pvalue > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 500), st.sampled_from([0, 1]))
def test_every_point_lies_in_its_ranges(seed, number, attempt):
    space = space_of(
        "train.batch_size=16..256:log",
        "loss.scope=kept|observed",
        "mask.layers.p0=0.5..1",
        "train.weight_decay=1e-6..1e-2:log",
    )
    params = suggest(Question(space, seed=seed), [], number, attempt)
    assert space.holds(params)
    assert json.loads(json.dumps(params)) == params
    config = space.config(ImmoConfig(), params, 7)
    assert config.seed == 7
    assert config.train.batch_size == params["train.batch_size"]
    assert math.isclose(sum(config.loss.weights.values()), 1, rel_tol=1e-12)


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_surrogates_stay_in_the_space_and_find_its_better_part(sampler):
    space = space_of("loss.scope=kept|observed|dropped", "model.encoder_dims=[64]|[128]")
    question = Question(space, sampler=sampler, seed=1)
    running = Seen(suggest(question, [], 999), None)
    seen = []
    for number in range(16):
        params = suggest(question, [], number)
        value = (params["model.dropout"] - 0.2) ** 2 + (params["loss.scope"] != "kept")
        seen.append(Seen(params, (value,)))
    found = [suggest(question, [*seen, running], number) for number in (16, 17, 18)]
    assert all(space.holds(params) for params in found)
    assert [params["loss.scope"] for params in found].count("kept") >= 2
    assert suggest(question, [*seen, running], 16) == found[0]
    assert found[0] != found[1]


def test_start_points_are_spread_and_never_repeat():
    space = space_of()
    points = [suggest(Question(space), [], number) for number in range(64)]
    assert len({json.dumps(point) for point in points}) == 64
    dropout = sorted(point["model.dropout"] for point in points)
    assert max(np.diff([0.1, *dropout, 0.5])) < 0.03  # 64 at random leave a gap of 0.03 or more.


def test_the_space_of_the_paper():
    space = space_of()
    ranges = {item.key: (item.low, item.high, item.log) for item in space.dimensions}
    assert ranges["model.latent_dim"] == (32, 128, False)
    assert ranges["train.learning_rate"] == (1e-4, 1e-2, True)
    assert ranges["mask.values.p0"] == (0.3, 0.9, False)
    assert [key for key in ranges if "weights" in key] == ["loss.weights/mg", "loss.weights/mt"]
    best = paper_optimum(ImmoConfig(), LAYERS)
    params, outside = space.point(best)
    assert not outside
    again = space.config(ImmoConfig(), params, 0)
    assert again.model.latent_dim == 110
    np.testing.assert_allclose(list(again.loss.weights.values()), [0.3, 0.3, 0.4])


def test_a_layer_searched_alone_keeps_the_rest_of_the_shared_schedule():
    space = space_of("mask.values_by_layer.*.p0=0.3..0.9")
    keys = {item.key for item in space.dimensions}
    assert "mask.values.p0" not in keys
    assert {f"mask.values_by_layer.{name}.p0" for name in LAYERS} <= keys
    params = suggest(Question(space), [], 0)
    config = space.config(ImmoConfig(), params, 0)
    own = config.mask.values_by_layer["mt"]
    assert own.p0 == params["mask.values_by_layer.mt.p0"]
    assert (own.growth, own.p_max) == (0.01, 0.95)


def test_conditions_fixed_keys_and_keys_left_out_from_a_file(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "keys:\n"
        "  loss.scope: {choices: [kept, observed]}\n"
        "  train.weight_decay: {low: 1e-6, high: 1e-2, log: true, when: {loss.scope: kept}}\n"
        "  train.lr_decay: 0.98\n"
        "  model.dropout: null\n"
    )
    space, _ = build_space(LAYERS, ImmoConfig(), file=file)
    assert "model.dropout" not in {item.key for item in space.dimensions}
    for number in range(12):
        params = suggest(Question(space), [], number)
        assert ("train.weight_decay" in params) == (params["loss.scope"] == "kept")
        assert space.config(ImmoConfig(), params, 0).train.lr_decay == 0.98
    seen = [Seen(suggest(Question(space), [], n), (float(n),)) for n in range(12)]
    for sampler in ("gp", "tpe"):
        assert space.holds(suggest(Question(space, sampler=sampler), seen, 12))
    assert space_from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_one_layer_has_no_weights_to_search():
    space = space_of(layers=["mg"])
    assert not [item for item in space.dimensions if "weights" in item.key]


def test_a_key_that_is_set_is_not_searched():
    base = load_config(assignments=["model.dropout=0.4"])
    space, notices = build_space(LAYERS, base, assignments=["model.dropout=0.4"])
    assert "model.dropout" not in {item.key for item in space.dimensions}
    assert "model.dropout is set" in notices[0]


BAD = {
    "unknown key": (["train.batch_sise=32..64"], "did you mean 'train.batch_size'"),
    "unknown layer": (["mask.values_by_layer.xx.p0=0.3..0.9"], "unknown key"),
    "empty range": (["train.batch_size=64..32"], "64..32 is empty"),
    "no width": (["model.dropout=0.3..0.3"], "is empty"),
    "beyond the key": (["model.dropout=0.1..1.5"], "model.dropout=1.5 does not work"),
    "not whole": (["train.batch_size=1.5..3"], "whole numbers"),
    "log from zero": (["train.weight_decay=0..1:log"], "begins above 0"),
    "not a number": (["train.batch_size=a..b"], "expected numbers"),
    "one choice": (["loss.scope=kept|kept"], "at least two different"),
    "no choice of the key": (["loss.scope=kept|whatever"], "loss.scope=whatever does not work"),
    "the seed": (["seed=0..5"], "cannot be searched"),
    "the split": (["split.test_fraction=0.1..0.3"], "split already"),
    "twice": (["train.batch_size=32..64", "train.batch_size=16..64"], "given twice"),
    "shared and by layer": (
        ["mask.values.p0=0.3..0.9", "mask.values_by_layer.mg.p0=0.3..0.9"],
        "contradict each other",
    ),
    "a value that does not fit": (["train.batch_size=many"], "fixed values"),
    "no value": (["train.batch_size"], "expected key=low..high"),
    "weights of strangers": (["loss.weights={xx: 1}"], "a weight for each of the layers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_searches_are_refused(name):
    texts, expected = BAD[name]
    with pytest.raises(ConfigError, match=expected.replace("(", r"\(")):
        space_of(*texts)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("start: nowhere\n", "expected paper or empty"),
        ("start: empty\n", "nothing is searched"),
        ("kyes: {}\n", "expected the keys 'start' and 'keys'"),
        ("keys: [a]\n", "'keys' holds"),
        ("keys: {a: {low: 1", "not valid YAML"),
        ("keys: {train.batch_size: {low: 1, high: 2, step: 1}}\n", "unknown entries"),
        ("keys: {train.batch_size: {low: 1, high: 9, when: {loss.scope: kept}}}\n", "never that"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, expected):
    file = tmp_path / "space.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=expected) as told:
        build_space(LAYERS, ImmoConfig(), file=file)
    assert "space.yaml" in str(told.value)


def test_set_and_searched_is_a_contradiction():
    with pytest.raises(ConfigError, match="set with --set and searched"):
        space_of("train.batch_size=32..64", assignments=["train.batch_size=8"])


def test_wide_integers_are_smooth_to_the_gaussian_process_and_stay_integers(monkeypatch):
    dimensions = (
        Dimension("model.latent_dim", "int", 32, 128),
        Dimension("train.batch_size", "int", 8, 512, log=True),
        Dimension("train.patience", "int", 1, 5),
        Dimension("model.dropout", "float", 0.1, 0.5),
    )
    space = Space(("mg",), dimensions)
    smooth = suggesting._smooth(space)
    assert [item.kind for item in smooth.dimensions] == ["float", "float", "int", "float"]
    assert (smooth.dimensions[0].low, smooth.dimensions[0].high) == (31.5, 128.5)
    seen = [
        Seen(point, (abs(point["model.latent_dim"] - 128.0),))
        for point in (suggest(Question(space), [], number) for number in range(12))
    ]
    for number in range(12, 15):
        point = suggest(Question(space), seen, number)
        assert all(item.holds(point[item.key]) for item in dimensions)
        assert all(isinstance(point[item.key], int) for item in dimensions[:3])
    # Half a step beyond the end is still the end.
    monkeypatch.setattr(suggesting, "_suggested", lambda _, item: item.high)
    assert suggest(Question(space), seen, 15)["model.latent_dim"] == 128


def test_a_surrogate_is_asked_once_ten_are_begun_and_five_are_known():
    def seen(known, pending):
        return [Seen({}, (1.0,))] * known + [Seen({}, None)] * pending

    assert suggesting.is_start(seen(9, 0))
    assert suggesting.is_start(seen(4, 7))
    assert not suggesting.is_start(seen(5, 5))
    assert not suggesting.is_start(seen(10, 0))


def test_failed_trainings_do_not_spoil_the_scale():
    question = Question(Space(("mg",), ()), directions=("minimize", "maximize"))
    seen = [Seen({}, (value, -value)) for value in (0.8, 0.81, 0.82, 0.9, 9.0)] + [Seen({}, None)]
    told = suggesting._tempered(question, seen)
    first = [item.values[0] for item in told[:5]]
    assert first[:3] == [0.8, 0.81, 0.82]
    assert first[3] == pytest.approx(0.82 + 0.02 * math.log1p(4))
    assert first[3] < first[4] < 1
    # What is to be maximised is told alike.
    assert [item.values[1] for item in told[:5]] == pytest.approx([-value for value in first])
    assert told[5].values is None
    # All alike: nothing to scale by.
    assert suggesting._tempered(question, [Seen({}, (1.0, 2.0))] * 3)[0].values == (1.0, 2.0)
