"""Counts: TMM against a plain implementation of the paper, and the way back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.preparation.counts import PSEUDO_COUNT, fit_counts
from immo_hpc.data.preparation.rows import TrainingRows
from immo_hpc.data.preparation.tmm import choose_reference, row_richness, tmm_factors


def fitted(values, *, tmm):
    return fit_counts(TrainingRows.of(values), tmm=tmm)


def _counts(seed, *, rows=8, features=60, mean=40.0):
    rng = np.random.default_rng(seed)
    profile = rng.lognormal(0, 1.5, features)
    depth = rng.lognormal(0, 0.5, rows)
    expected = mean * depth[:, None] * profile
    counts = rng.poisson(expected * rng.gamma(3, 1 / 3, expected.shape)).astype(float)
    counts[0, counts.sum(axis=0) == 0] = 1
    return counts


def _tmm_by_the_paper(sample, reference):
    """Robinson & Oshlack 2010, feature by feature, in plain Python (ranks without ties)."""
    n_k, n_r = sum(sample), sum(reference)
    rows = []
    for y_k, y_r in zip(sample, reference, strict=True):
        if y_k > 0 and y_r > 0:
            m = math.log2((y_k / n_k) / (y_r / n_r))
            a = 0.5 * math.log2((y_k / n_k) * (y_r / n_r))
            w = 1 / ((n_k - y_k) / (n_k * y_k) + (n_r - y_r) / (n_r * y_r))
            rows.append((m, a, w))
    low_m, low_a = math.floor(0.3 * len(rows)), math.floor(0.05 * len(rows))
    by_m = sorted(range(len(rows)), key=lambda i: rows[i][0])
    by_a = sorted(range(len(rows)), key=lambda i: rows[i][1])
    kept = set(by_m[low_m : len(rows) - low_m]) & set(by_a[low_a : len(rows) - low_a])
    weight = sum(rows[i][2] for i in kept)
    return 2 ** (sum(rows[i][0] * rows[i][2] for i in kept) / weight)


@pytest.mark.parametrize("seed", range(5))
def test_factors_equal_the_paper(seed):
    # Non-integer values, so that no two ranks tie.
    counts = _counts(seed) + np.random.default_rng(seed).uniform(0.01, 0.2, (8, 60))
    expected = [_tmm_by_the_paper(row, counts[2]) for row in counts]
    np.testing.assert_allclose(tmm_factors(counts, counts[2]), expected, rtol=1e-12)


def test_factor_undoes_a_feature_that_takes_half_of_the_depth():
    reference = np.full(100, 50.0) + np.arange(100)
    sample = reference.copy()
    sample[0] = reference.sum()
    factor = tmm_factors(sample[None], reference)
    np.testing.assert_allclose(factor * sample.sum(), reference.sum(), rtol=1e-9)


def test_factor_is_1_without_shared_features():
    factors = tmm_factors(np.array([[5.0, 0.0], [0.0, 0.0]]), np.array([0.0, 7.0]))
    np.testing.assert_array_equal(factors, [1, 1])


def test_missing_features_do_not_look_like_depth():
    counts = _counts(1)
    missing = counts[3].copy()
    missing[::2] = np.nan
    transform = fitted(counts, tmm=False)
    partial = transform.effective_library(missing[None])
    complete = transform.effective_library(counts[3:4])
    np.testing.assert_allclose(partial, complete, rtol=0.35)
    assert np.nansum(missing) < 0.75 * complete[0]


def test_reference_of_sparse_counts_is_the_richest_sample():
    counts = np.zeros((3, 10))
    counts[0, :1], counts[1, :2], counts[2, 0] = 4, 3, 1
    assert choose_reference(**row_richness(counts)) == 1


@pytest.mark.parametrize("tmm", [True, False])
def test_log_counts_per_million_equal_the_direct_formula(tmm):
    counts = _counts(2)
    transform = fitted(counts, tmm=tmm)
    log, scale = transform.forward(counts)
    library = counts.sum(axis=1)
    if tmm:
        factors = np.array([tmm_factors(row[None], transform.reference)[0] for row in counts])
        library = library * factors / np.prod(factors) ** (1 / len(factors))
    pseudo = PSEUDO_COUNT / np.median(library) * 1e6
    np.testing.assert_allclose(scale, library)
    np.testing.assert_allclose(log, np.log2(counts / library[:, None] * 1e6 + pseudo), rtol=1e-9)
    assert transform.median_scale == pytest.approx(np.median(library))


def test_a_sample_gets_the_same_values_alone_as_in_company():
    counts = _counts(3)
    transform = fitted(counts, tmm=True)
    together, scale = transform.forward(counts)
    alone, alone_scale = transform.forward(counts[4:5])
    np.testing.assert_array_equal(alone[0], together[4])
    assert alone_scale[0] == scale[4]


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.3, 30.0, 3000.0]))
@settings(max_examples=30, deadline=None)
def test_counts_come_back(seed, tmm, mean):
    counts = _counts(seed, features=12, mean=mean)
    transform = fitted(counts, tmm=tmm)
    log, scale = transform.forward(counts)
    back = transform.inverse(log.astype(np.float32).astype(float), scale.astype(np.float32))
    np.testing.assert_allclose(back, counts, rtol=1e-4, atol=0)


def test_empty_library_comes_back_empty():
    transform = fitted(_counts(4), tmm=True)
    log, scale = transform.forward(np.zeros((1, 60)))
    assert np.isfinite(log).all()
    np.testing.assert_array_equal(transform.inverse(log, scale), np.zeros((1, 60)))
