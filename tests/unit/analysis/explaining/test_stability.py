import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.analysis.explaining.stability import Refit, compare_refits, stability_index


def _kuncheva(one, other):
    """Kuncheva 2007, Eq. 2, of two sets of one size."""
    d, k, r = len(one), one.sum(), (one & other).sum()
    return (r * d - k**2) / (k * (d - k))


def _sets(generator, num_sets, num_features, size):
    chosen = np.zeros((num_sets, num_features), dtype=bool)
    for row in chosen:
        row[generator.permutation(num_features)[:size]] = True
    return chosen


def test_hand_computed_cases():
    # {a, b} and {a, c} of four: p = 1, .5, .5, 0; s² = 2 p (1 - p); 1 - (1/4) / (1/4) = 0.
    assert stability_index(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)) == pytest.approx(0)
    # Disjoint pairs of four: s² = .5 each; 1 - .5 / .25 = -1, the least there is.
    assert stability_index(np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)) == pytest.approx(-1)
    # Sizes 1 and 2 of three, one in common: p = 1, .5, 0; mean s² = 1/6, size 1/2.
    found = stability_index(np.array([[1, 0, 0], [1, 1, 0]], dtype=bool))
    assert found == pytest.approx(1 - (1 / 6) / 0.25)


@settings(max_examples=40)
@given(st.integers(2, 8), st.integers(3, 40), st.data())
def test_it_is_the_mean_kuncheva_index_of_sets_of_one_size(num_sets, num_features, data):
    size = data.draw(st.integers(1, num_features - 1))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    chosen = _sets(generator, num_sets, num_features, size)
    pairs = [_kuncheva(one, other) for one, other in itertools.combinations(chosen, 2)]
    assert stability_index(chosen) == pytest.approx(np.mean(pairs))
    assert stability_index(chosen) <= 1 + 1e-12
    shuffled = chosen[generator.permutation(num_sets)][:, generator.permutation(num_features)]
    assert stability_index(shuffled) == pytest.approx(stability_index(chosen))


def test_equal_sets_give_1_and_random_sets_0():
    generator = np.random.default_rng(0)
    same = np.repeat(_sets(generator, 1, 30, 10), 5, axis=0)
    assert stability_index(same) == pytest.approx(1)
    random = [stability_index(_sets(generator, 10, 200, 10)) for _ in range(200)]
    assert abs(np.mean(random)) < 4 * np.std(random) / np.sqrt(len(random)) + 1e-3


@pytest.mark.parametrize("chosen", [np.ones((3, 4)), np.zeros((3, 4)), np.eye(4)[:1]])
def test_sets_that_cannot_differ_have_no_stability(chosen):
    assert np.isnan(stability_index(chosen.astype(bool)))


def test_features_are_told_their_ranks_and_signs():
    def refit(strength, direction):
        return Refit({"a": np.array(strength)}, {"a": np.array(direction)})

    reported = refit([3.0, 2.0, 1.0], [1, -1, 1])
    refits = [refit([9.0, 5.0, 1.0], [1, -1, 1]), refit([4.0, 1.0, 2.0], [1, 1, 1])]
    found = compare_refits(refits, reported, {"a": ("x", "y", "z")}, top=2, kind="refits")
    table = found.features.set_index("feature")
    assert table["mean_rank"].to_dict() == {"x": 1, "y": 2.5, "z": 2.5}
    assert table.loc["x", "rank_sd"] == 0
    assert table.loc["y", "rank_sd"] == pytest.approx(np.sqrt(0.5))
    assert table["top_share"].to_dict() == {"x": 1, "y": 0.5, "z": 0.5}
    assert table["sign_agreement"].to_dict() == {"x": 1, "y": 0.5, "z": 1}
    # {x, y} and {x, z} of three: p = 1, .5, .5; 1 - (1/3) / (2/9).
    assert found.layers["index"].tolist() == [pytest.approx(-0.5)]
    nothing = [refit([0.0, 0.0, 0.0], [0, 0, 0])] * 2
    unused = compare_refits(nothing, nothing[0], {"a": ("x", "y", "z")}, top=2, kind="refits")
    assert (unused.features["top_share"] == 0).all()
    assert unused.layers["index"].isna().all()
    assert compare_refits(refits[:1], reported, {"a": ("x", "y", "z")}, 2, "one") is None
