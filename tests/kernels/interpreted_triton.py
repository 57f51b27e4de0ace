"""The Triton path on the CPU, run by `test_triton_interpreted.py` in a process of its own.

Triton's interpreter is chosen when a kernel is defined (TRITON_INTERPRET=1), so these tests
cannot share a process with those that compile the kernels.
"""

import ctypes
import itertools
import mmap
import os

import numpy as np
import pytest
import torch

from immo_kernels import (
    MaskStream,
    dynamic_mask,
    keep_layers,
    linear_masked_wmse,
    masked_linear,
    masked_wmse,
)

STREAM = MaskStream(seed=2**40 + 9, epoch=2**32 - 2)
SCOPES = ["observed", "kept", "dropped"]
# (sample, feature) and the bounds of the layers: 512 columns a small tile, 2,048 a large one.
SHAPES = [
    ((0, 5), [0, 5]),
    ((3, 0), [0, 0]),
    ((1, 1), [0, 1]),
    ((5, 7), [0, 3, 7]),
    ((3, 127), [0, 31, 31, 127]),  # an empty layer; bounds within a call of Philox
    ((2, 512), [0, 512]),
    ((2, 513), [0, 0, 513, 513]),
    ((2, 2049), [0, 2049]),
    ((1, 4200), [0, 13, 4199, 4200]),
]
FIRST_FEATURES = [0, 21, 2**33 + 7]
TOLERANCES = {
    # Sums of up to 4,200 squares in another order.
    torch.float32: {"rtol": 2e-6, "atol": 1e-7},
    # Rounded to 8 bits twice, as residual and when scaled; the interpreter cuts bits off
    # instead of rounding, which a GPU does not.
    torch.bfloat16: {"rtol": 2**-6, "atol": 1e-5},
    torch.float16: {"rtol": 2**-10, "atol": 1e-6},
}
UPSTREAM = -2.5


@pytest.fixture(autouse=True)
def _triton(monkeypatch):
    assert os.environ.get("TRITON_INTERPRET") == "1", "run by test_triton_interpreted.py"
    monkeypatch.setenv("IMMO_KERNELS", "triton")


def problem(shape, segments, dtype=torch.float32, **more):
    generator = torch.Generator().manual_seed(shape[0] * 1009 + shape[1])
    num_layers = len(segments) - 1
    x = torch.randn(shape, generator=generator)
    x[torch.rand(shape, generator=generator) < 0.3] = torch.nan
    x_hat = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
    uid = torch.randint(-(2**63), 2**63 - 1, (shape[0],), generator=generator)
    arguments = {
        "weight": [0.5 + layer for layer in range(num_layers)],
        "keep_probability": [0.25 + 0.5 * layer / num_layers for layer in range(num_layers)],
        "stream": STREAM,
        "segments": segments,
        "first_feature": 21,
        "measured": torch.rand(shape[0], num_layers, generator=generator) < 0.7,
        "shown": torch.rand(shape[0], num_layers, generator=generator) < 0.7,
    }
    return x_hat, x.to(dtype), uid, arguments | more


def of_mask(arguments):
    names = ("keep_probability", "stream", "segments", "first_feature", "shown")
    return {name: arguments[name] for name in names}


def loss_and_gradient(x_hat, x, uid, **arguments):
    result = masked_wmse(x_hat, x, uid, **arguments)
    (gradient,) = torch.autograd.grad(result.loss * UPSTREAM, x_hat)
    return result, gradient


def by_reference(function, *tensors, **arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMMO_KERNELS", "reference")
        return function(*tensors, **arguments)


def assert_close_to_reference(x_hat, x, uid, arguments):
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    exact = x_hat.detach().double().requires_grad_()
    expected, truth = by_reference(loss_and_gradient, exact, x.double(), uid, **arguments)
    single = TOLERANCES[torch.float32]
    assert torch.equal(result.layer_count, expected.layer_count)
    torch.testing.assert_close(result.loss.double(), expected.loss, **single)
    torch.testing.assert_close(result.layer_sum.double(), expected.layer_sum, **single)
    assert gradient.dtype == x_hat.dtype
    torch.testing.assert_close(gradient.double(), truth, **TOLERANCES[x_hat.dtype])
    return result, gradient


@pytest.mark.parametrize("first_feature", FIRST_FEATURES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_mask_is_the_reference_bit_for_bit(shape, segments, dtype, first_feature):
    _, x, uid, arguments = problem(shape, segments, dtype, first_feature=first_feature)
    masked = dynamic_mask(x, uid, **of_mask(arguments))
    expected = by_reference(dynamic_mask, x, uid, **of_mask(arguments))
    assert torch.equal(masked, expected)
    assert masked.dtype == dtype


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_loss_and_gradient(shape, segments, dtype, scope):
    assert_close_to_reference(*problem(shape, segments, dtype, scope=scope))


@pytest.mark.parametrize("size", ["counted first", "given"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("shape", "segments"), SHAPES[1::2])
def test_gradient_written_with_the_loss(monkeypatch, shape, segments, dtype, size):
    from immo_kernels.masked_wmse import triton

    # Large data are counted before they are scored.
    monkeypatch.setattr(triton, "_COUNT_FIRST_MIN", 0)
    normalizer = [3.0, 0.0, 70.0][: len(segments) - 1] if size == "given" else None
    more = {"scope": "dropped", "normalizer": normalizer}
    assert_close_to_reference(*problem(shape, segments, dtype, **more))


@pytest.mark.parametrize("size", ["counted first", "given"])
def test_a_gradient_that_nothing_weighs_is_written_once(monkeypatch, size):
    from immo_kernels.masked_wmse import triton

    monkeypatch.setattr(triton, "_COUNT_FIRST_MIN", 0)
    x_hat, x, uid, arguments = problem((3, 200), [0, 200], normalizer=7.0)
    if size == "counted first":
        arguments["normalizer"] = None
    guess = x_hat * 1
    versions = []
    result = masked_wmse(guess, x, uid, **arguments, overwrite_x_hat=True)
    written = guess.detach().clone()
    guess.register_hook(lambda gradient: versions.append(torch.equal(gradient, written)))
    result.loss.backward()
    assert versions == [True]


@pytest.mark.parametrize("scope", SCOPES)
def test_loss_against_the_definition(oracle, scope):
    x_hat, x, uid, arguments = problem((3, 61), [0, 19, 61], scope=scope, normalizer=[3.0, 0.0])
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    tables = {name: arguments[name].tolist() for name in ("measured", "shown")}
    expected = oracle.wmse(x_hat.tolist(), x.tolist(), uid.tolist(), **arguments | tables)
    assert result.layer_count.tolist() == expected.counts
    for found, value in (
        (result.loss, expected.loss),
        (result.layer_sum, expected.sums),
        (gradient, (UPSTREAM * torch.tensor(expected.gradient)).tolist()),
    ):
        torch.testing.assert_close(found, torch.tensor(value), **TOLERANCES[torch.float32])


@pytest.mark.parametrize("first_feature", FIRST_FEATURES)
@pytest.mark.parametrize("scope", ["kept", "dropped"])
def test_what_is_scored_is_the_reference_bit_for_bit(scope, first_feature):
    _, x, uid, arguments = problem((2, 2100), [0, 30, 2100], scope=scope)
    arguments["first_feature"] = first_feature
    ahead = torch.where(x.isnan(), 0.0, x) + 1
    results = [
        run(loss_and_gradient, ahead.requires_grad_(), x, uid, **arguments)
        for run in (by_reference, lambda function, *tensors, **more: function(*tensors, **more))
    ]
    assert int((results[0][1] != 0).sum()) > 100
    assert torch.equal(results[0][1] != 0, results[1][1] != 0)


@pytest.mark.parametrize(
    ("x_hat_dtype", "x_dtype"), list(itertools.permutations(TOLERANCES, 2))[:4]
)
def test_mixed_dtypes(x_hat_dtype, x_dtype):
    x_hat, x, uid, arguments = problem((2, 300), [0, 100, 300], x_hat_dtype, scope="kept")
    assert_close_to_reference(x_hat, x.to(x_dtype), uid, arguments)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e30])
def test_values_that_are_not_scored_change_nothing(scope, poison):
    x_hat, x, uid, arguments = problem((5, 300), [0, 100, 300], scope=scope)
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    unscored = gradient == 0
    assert int(unscored.sum()) > 100
    poisoned = torch.where(unscored, poison, x_hat.detach()).requires_grad_()
    measured_poison = torch.where(unscored & ~x.isnan(), poison, x)
    again, gradient_again = loss_and_gradient(poisoned, measured_poison, uid, **arguments)
    assert all(torch.equal(a, b) for a, b in zip(again, result, strict=True))
    assert torch.equal(gradient_again, gradient)


@pytest.fixture
def pages():
    """Copies a (3, 1024) float32 tensor into memory whose middle row, a page, may not be read."""
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def guarded(x):
        copy = torch.from_numpy(np.frombuffer(mmap.mmap(-1, 3 * 4096), np.float32)).view(3, 1024)
        copy.copy_(x)
        assert mprotect(copy.data_ptr() + 4096, 4096, 0) == 0
        return copy

    if mmap.PAGESIZE != 4096:
        pytest.skip("pages are not of 4 KiB here")
    return guarded


@pytest.mark.parametrize("scope", SCOPES)
def test_rows_that_are_absent_are_not_read(pages, scope):
    # Reading the middle row would end the process.
    x_hat, x, uid, arguments = problem((3, 1024), [0, 1024], scope=scope)
    present = torch.tensor([[True], [False], [True]])
    arguments |= {"measured": present, "shown": present}
    expected, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    masked = dynamic_mask(x, uid, **of_mask(arguments))
    guarded = pages(x_hat.detach()).requires_grad_()
    result, found = loss_and_gradient(guarded, pages(x), uid, **arguments)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert torch.equal(found, gradient)
    assert torch.equal(dynamic_mask(pages(x), uid, **of_mask(arguments)), masked)


STRIDES = {
    "transposed": lambda x: x.T.contiguous().T,
    "columns": lambda x: torch.cat([x, x], dim=1)[:, : x.shape[1]],
    "shifted": lambda x: torch.cat([x, x], dim=1)[:, x.shape[1] :],
    "rows": lambda x: x.repeat_interleave(2, dim=0)[::2],
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("of_x_hat", STRIDES)
def test_any_strides(of_x_hat, overwrite):
    x_hat, x, uid, arguments = problem((3, 203), [0, 101, 203], scope="kept")
    expected, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    leaf = x_hat.detach().clone().requires_grad_()
    for of_x in STRIDES.values():
        view = STRIDES[of_x_hat](leaf * 1)
        result = masked_wmse(view, of_x(x), uid, **arguments, overwrite_x_hat=overwrite)
        (found,) = torch.autograd.grad(result.loss * UPSTREAM, leaf)
        assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
        assert torch.equal(found, gradient)
        masked = dynamic_mask(of_x(x), uid, **of_mask(arguments))
        assert torch.equal(masked, by_reference(dynamic_mask, x, uid, **of_mask(arguments)))


def test_rows_beyond_2_to_the_31_elements(tmp_path):
    # A file with holes: three rows of a tensor with 2^32 elements between them.
    distance, width = 2**32 + 8, 50
    holes = np.memmap(tmp_path / "x", np.float16, "w+", shape=(2 * distance + width,))
    far = torch.from_numpy(holes).as_strided((3, width), (distance, 1))
    x_hat, x, uid, arguments = problem((3, width), [0, 20, width], torch.float16, scope="kept")
    far.copy_(x)
    expected, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    result, found = loss_and_gradient(x_hat, far, uid, **arguments)
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
    assert torch.equal(found, gradient)
    masked = dynamic_mask(far, uid, **of_mask(arguments))
    assert torch.equal(masked, dynamic_mask(x, uid, **of_mask(arguments)))


@pytest.mark.parametrize("folded", [False, True])
def test_sums_of_many_tiles_are_exact_and_runs_bit_equal(monkeypatch, folded):
    from immo_kernels.masked_wmse import triton

    monkeypatch.setattr(triton, "_FOLD_MIN", 0 if folded else 2**30)
    monkeypatch.setattr(triton, "_NUM_PARTS", 4)
    # Squares of small integers add without rounding, so tiles must neither overlap nor gap.
    x_hat = (torch.arange(9 * 1300) % 4).float().reshape(9, 1300)
    x, uid = torch.zeros(9, 1300), torch.arange(9)
    bounds = [0, 5, 5, 1000, 1300]
    arguments = {"weight": 1.0, "keep_probability": 1.0, "stream": STREAM, "segments": bounds}
    result = masked_wmse(x_hat, x, uid, **arguments)
    parts = [x_hat[:, low:high] for low, high in itertools.pairwise(bounds)]
    assert result.layer_sum.tolist() == [float(part.square().sum()) for part in parts]
    assert result.layer_count.tolist() == [part.numel() for part in parts]
    noise = torch.randn(9, 1300, generator=torch.Generator().manual_seed(1))
    first, second = (masked_wmse(noise, x, uid, **arguments) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probability_zero_and_one(probability):
    x_hat, x, uid, arguments = problem((3, 90), [0, 90], shown=None, measured=None)
    arguments["keep_probability"] = probability
    everything, nothing = ("kept", "dropped") if probability else ("dropped", "kept")
    observed, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    same, same_gradient = loss_and_gradient(x_hat, x, uid, **arguments, scope=everything)
    assert all(torch.equal(a, b) for a, b in zip(same, observed, strict=True))
    assert torch.equal(same_gradient, gradient)
    none, zero = loss_and_gradient(x_hat, x, uid, **arguments, scope=nothing)
    assert float(none.loss.detach()) == 0
    assert torch.equal(zero, torch.zeros_like(x_hat))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (1, 1), (7, 3), (130, 5), (3, 300)])
def test_keep_layers_is_the_reference_bit_for_bit(shape, probability):
    generator = torch.Generator().manual_seed(shape[0])
    measured = torch.rand(shape, generator=generator) < 0.7
    uid = torch.randint(-(2**63), 2**63 - 1, (shape[0],), generator=generator)
    arguments = {"keep_probability": probability, "stream": STREAM}
    shown = keep_layers(measured, uid, **arguments)
    assert torch.equal(shown, by_reference(keep_layers, measured, uid, **arguments))


@pytest.mark.parametrize(
    ("scope", "normalizer"), [("observed", None), ("kept", 7.0), ("dropped", None)]
)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_last_layer_and_loss_in_blocks(monkeypatch, scope, dtype, normalizer):
    """The kernels work on slices of wider rows, at any column."""
    from immo_kernels.linear_masked_wmse import blocked

    monkeypatch.setattr(blocked, "block_width", lambda *_: 88)
    x_hat, x, uid, arguments = problem((3, 150), [0, 31, 31, 150], scope=scope)
    arguments["normalizer"] = normalizer
    operands = [torch.eye(3), x_hat.detach().T.contiguous(), torch.zeros(150)]
    operands = [part.requires_grad_() for part in operands]

    def run(x):
        result = linear_masked_wmse(*operands, x, uid, **arguments)
        return result, *torch.autograd.grad(result.loss * UPSTREAM, operands)

    x = x.to(dtype)
    result, *gradients = run(x)
    expected, *truths = by_reference(run, x)
    assert torch.equal(result.layer_count, expected.layer_count)
    # A unit hidden layer: the gradient by the matrix is that by x_hat.
    assert torch.equal(gradients[1] != 0, truths[1] != 0)
    torch.testing.assert_close((result, gradients), (expected, truths), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first_feature", FIRST_FEATURES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_mask_and_first_layer_in_blocks(monkeypatch, dtype, first_feature):
    from immo_kernels.masked_linear import blocked

    monkeypatch.setattr(blocked, "block_width", lambda *_: 88)
    _, x, uid, _ = problem((3, 150), [0, 150], dtype)
    arguments = {"keep_probability": 0.6, "stream": STREAM, "first_feature": first_feature}
    rows = torch.tensor([2, 0])
    eye = torch.eye(150, requires_grad=True)
    found = masked_linear(x, eye, torch.zeros(150), uid, **arguments, rows=rows)
    visible = by_reference(dynamic_mask, x, uid, **arguments)[rows].float()
    assert torch.equal(found, visible)
    (gradient,) = torch.autograd.grad(found, eye, visible)
    torch.testing.assert_close(gradient, visible.T @ visible)
