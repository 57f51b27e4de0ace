"""Shared by the kernel tests: NaN-filled buffers, and a scalar oracle that shares no code."""

import math
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture(autouse=True)
def _nan_filled_buffers():
    """torch.empty returns NaN (or the largest integer), so that an unwritten element shows."""
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(was)


@pytest.fixture(autouse=True)
def _no_forced_path(monkeypatch):
    monkeypatch.delenv("IMMO_KERNELS", raising=False)


def philox(counter, key):
    """Philox4x32-10 in Python integers, after the paper's definition."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def draw(seed, epoch, uid, counter0):
    low, high = uid % 2**32, uid // 2**32 % 2**32
    return philox((counter0, epoch, low, high), (seed % 2**32, seed // 2**32))


def value_kept(seed, epoch, uid, feature, probability):
    call, lane = divmod(feature, 8)
    word = draw(seed, epoch, uid, call)[lane // 2]
    half = word // 65536 if lane % 2 else word % 65536
    return half < round(probability * 65536)


def wmse(
    x_hat,
    x,
    uid,
    *,
    weight,
    keep_probability,
    stream,
    scope,
    segments,
    normalizer=None,
    first_feature=0,
    measured=None,
    shown=None,
):
    """Equation 7 and its gradient, value by value; lists of floats in, lists out."""
    num_layers = len(segments) - 1
    squares, counts, gradient = [[] for _ in range(num_layers)], [0] * num_layers, {}
    for row, values in enumerate(x):
        for layer in range(num_layers):
            for column in range(segments[layer], segments[layer + 1]):
                absent = measured is not None and not measured[row][layer]
                if absent or math.isnan(values[column]):
                    continue
                kept = value_kept(
                    stream.seed,
                    stream.epoch,
                    uid[row],
                    first_feature + column,
                    keep_probability[layer],
                )
                kept = kept and (shown is None or shown[row][layer])
                if (scope == "kept" and not kept) or (scope == "dropped" and kept):
                    continue
                residual = x_hat[row][column] - values[column]
                squares[layer].append(residual**2)
                counts[layer] += 1
                gradient[row, column] = (layer, 2 * residual)
    sums = [math.fsum(part) for part in squares]
    sizes = counts if normalizer is None else normalizer
    factor = [w / n if n else 0.0 for w, n in zip(weight, sizes, strict=True)]
    dense = [[0.0] * len(values) for values in x]
    for (row, column), (layer, slope) in gradient.items():
        dense[row][column] = factor[layer] * slope
    loss = math.fsum(f * s for f, s in zip(factor, sums, strict=True))
    return SimpleNamespace(loss=loss, sums=sums, counts=counts, gradient=dense)


@pytest.fixture(scope="session")
def oracle():
    """Scalar implementations in plain Python."""
    return SimpleNamespace(philox=philox, draw=draw, value_kept=value_kept, wmse=wmse)


@pytest.fixture
def two_threads(monkeypatch):
    """Every CPU call runs on two threads; a function that turns back to one is returned."""
    numba = pytest.importorskip("numba")
    from immo_kernels import _cpu

    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine gives numba one thread")
    was = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(_cpu, "PARALLEL_MIN", 0)
    yield lambda: torch.set_num_threads(1)
    torch.set_num_threads(was)
