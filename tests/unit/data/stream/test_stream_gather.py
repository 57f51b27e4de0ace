"""Rows gathered from anywhere: bit for bit, of any width, from any address, and nothing beside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from immo_hpc.data.stream.gather import gather_rows


@given(
    width=st.integers(0, 70),
    num_rows=st.integers(0, 5),
    before=st.integers(0, 40),
    first=st.integers(0, 20),
    is_half=st.lists(st.booleans(), min_size=5, max_size=5),
    seed=st.integers(0, 1000),
)
def test_rows_are_those_at_the_addresses(width, num_rows, before, first, is_half, seed):
    content = np.random.default_rng(seed).integers(0, 256, 4096, dtype=np.uint8)
    starts = np.random.default_rng(seed).integers(0, 4096 - 4 * 70, num_rows)
    item_bytes = np.where(is_half[:num_rows], 2, 4).astype(np.uint8)
    memory = np.full(first + num_rows * width + 20, 7, dtype=np.float32)
    out = memory[first : first + num_rows * width].reshape(num_rows, width)
    gather_rows(content.ctypes.data + starts, item_bytes, out)
    for row, start, size in zip(out, starts, item_bytes.tolist(), strict=True):
        stored = np.frombuffer(content[start : start + size * width].tobytes(), f"<f{size}")
        with np.errstate(invalid="ignore"):
            expected = stored.astype(np.float32)
        if size == 4:
            np.testing.assert_array_equal(row.view(np.int32), expected.view(np.int32))
        else:
            np.testing.assert_array_equal(row, expected)
    assert (memory[:first] == 7).all()
    assert (memory[first + num_rows * width :] == 7).all()


def test_every_half_is_the_float_it_stands_for():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    out = np.empty((1, 2**16), dtype=np.float32)
    gather_rows(np.array([halves.ctypes.data]), np.array([2], np.uint8), out)
    np.testing.assert_array_equal(out[0], halves.astype(np.float32))


@pytest.mark.parametrize("out", [np.empty((2, 3)), np.empty((3, 2), np.float32).T])
def test_what_it_cannot_write_is_refused(out):
    with pytest.raises(AssertionError):
        gather_rows(np.zeros(2, np.int64), np.zeros(2, np.uint8), out)
