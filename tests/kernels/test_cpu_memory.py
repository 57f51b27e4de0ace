"""What the CPU path reads: nothing of absent samples, rows at any distance, in any process."""

import ctypes
import mmap

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from immo_kernels import (
    MaskStream,
    dynamic_mask,
    linear_masked_wmse_and_gradients,
    masked_linear,
    masked_linear_by_matrix,
    masked_wmse_and_gradient,
)

STREAM = MaskStream(seed=5, epoch=6)
PRESENT = torch.tensor([[True], [False], [True]])
ROWS = torch.tensor([0, 2])


@pytest.fixture
def guarded():
    """Copies a (3, 1024) float32 tensor into memory whose middle row, a page, may not be read."""
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if mmap.PAGESIZE != 4096:
        pytest.skip("pages are not of 4 KiB here")

    def guard(x):
        copy = torch.from_numpy(np.frombuffer(mmap.mmap(-1, 3 * 4096), np.float32)).view(3, 1024)
        copy.copy_(x)
        assert mprotect(copy.data_ptr() + 4096, 4096, 0) == 0
        return copy

    return guard


def data():
    generator = torch.Generator().manual_seed(0)
    x, x_hat = torch.randn(2, 3, 1024, generator=generator)
    x[torch.rand(3, 1024, generator=generator) < 0.3] = torch.nan
    return x, x_hat, torch.arange(3)


def mask(x, x_hat, uid):
    return dynamic_mask(x, uid, keep_probability=0.5, stream=STREAM, shown=PRESENT)


def loss(scope):
    def run(x, x_hat, uid):
        result, gradient = masked_wmse_and_gradient(
            *(x_hat, x, uid),
            weight=1.0,
            keep_probability=0.5,
            stream=STREAM,
            scope=scope,
            measured=PRESENT,
        )
        return *result, gradient

    return run


def last_layer(x, x_hat, uid):
    del x_hat
    generator = torch.Generator().manual_seed(1)
    operands = [torch.randn(size, generator=generator) for size in ((3, 8), (1024, 8), (1024,))]
    result, gradients = linear_masked_wmse_and_gradients(
        *operands, x, uid, weight=1.0, keep_probability=0.5, stream=STREAM, measured=PRESENT
    )
    return *result, *gradients


def first_layer(x, x_hat, uid):
    matrix = x_hat[:2].clone()
    masking = {"keep_probability": 0.5, "stream": STREAM, "rows": ROWS}
    found = masked_linear(x, matrix, torch.zeros(2), uid, **masking)
    return found, masked_linear_by_matrix(found, x, uid, **masking)


CALLS = {
    "mask": mask,
    **{scope: loss(scope) for scope in ("observed", "kept", "dropped")},
    "last layer": last_layer,
}


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("call", CALLS)
def test_rows_that_are_absent_are_not_read(guarded, call):
    # Reading the middle row would end the process.
    x, x_hat, uid = data()
    expected = CALLS[call](x, x_hat, uid)
    assert_equal(CALLS[call](guarded(x), guarded(x_hat), uid), expected)


def test_rows_left_out_of_the_first_layer_are_not_read(guarded):
    x, x_hat, uid = data()
    assert_equal(first_layer(guarded(x), x_hat, uid), first_layer(x, x_hat, uid))


@pytest.mark.parametrize("call", [*CALLS, "first layer"])
def test_rows_beyond_2_to_the_31_elements(tmp_path, call):
    # A file with holes: three rows of a tensor with more than 2^31 elements between them.
    distance, width = 2**31 + 8, 1024
    holes = np.memmap(tmp_path / "x", np.float32, "w+", shape=(2 * distance + width,))
    far = torch.from_numpy(holes).as_strided((3, width), (distance, 1))
    x, x_hat, uid = data()
    far.copy_(x)
    run = CALLS.get(call, first_layer)
    assert_equal(run(far, x_hat, uid), run(x, x_hat, uid))


class Masked(Dataset):
    """Masked samples, masked by whoever fetches them."""

    def __len__(self):
        return 40

    def __getitem__(self, sample):
        x = torch.arange(1.0, 201.0).view(1, 200)
        return dynamic_mask(x, torch.tensor([sample]), keep_probability=0.5, stream=STREAM)[0]


# From Python 3.12 on a fork beside threads warns; the children here are tested to work.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker:UserWarning")
def test_a_samples_mask_is_the_same_on_one_and_on_four_workers():
    alone = torch.cat(list(DataLoader(Masked(), batch_size=7)))
    for workers, batch_size in ((1, 7), (4, 3)):
        shared = DataLoader(
            Masked(), batch_size, num_workers=workers, multiprocessing_context="fork"
        )
        assert_equal(torch.cat(list(shared)), alone)
    x = torch.arange(1.0, 201.0).expand(40, 200)
    together = dynamic_mask(x, torch.arange(40), keep_probability=0.5, stream=STREAM)
    assert_equal(together, alone)
