"""Drift of embeddings: blind to shift and rotation, not to movement of single samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.analysis.embedding_drift import embedding_drift


def names(number):
    return [f"s{place}" for place in range(number)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6))
def test_shift_and_rotation_are_no_drift(seed, samples, dims):
    draw = np.random.default_rng(seed)
    before = draw.normal(size=(samples, dims))
    turn, _ = np.linalg.qr(draw.normal(size=(dims, dims)))
    found = embedding_drift(before, before @ turn + draw.normal(size=dims), names(samples))
    assert found.table["distance"].max() < 1e-6
    assert found.summary["kept_share"] == pytest.approx(1)


def test_a_sample_that_moved_is_found():
    draw = np.random.default_rng(0)
    before = draw.normal(size=(200, 5)).astype(np.float32)
    after = before.copy()
    after[17] += 4
    found = embedding_drift(before, after, names(200))
    assert found.table["distance"].idxmax() == "s17"
    # Moved by 4 in each of 5 dimensions, of a spread of the root of 5.
    assert found.table["distance"]["s17"] == pytest.approx(4, rel=0.1)
    assert found.summary["distance_median"] < 0.1
    assert "200 samples that both have" in found.text()


def test_cosine_is_that_of_the_vectors_as_they_stand():
    before = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 1.0]])
    after = np.array([[2.0, 0.0], [2.0, 0.0], [1.0, 0.0], [-1.0, -1.0]])
    found = embedding_drift(before, after, names(4))
    assert found.table["cosine"].tolist() == pytest.approx([1, 0, 0, -1])
    assert found.summary["cosine_least"] == pytest.approx(-1)


def test_unrelated_spaces_keep_nothing_much():
    draw = np.random.default_rng(1)
    found = embedding_drift(draw.normal(size=(500, 4)), draw.normal(size=(500, 4)), names(500))
    assert found.summary["kept_share"] == 0.0
    assert found.summary["distance_median"] > 1
