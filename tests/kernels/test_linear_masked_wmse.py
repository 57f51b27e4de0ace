"""Last layer and loss in feature blocks: the reference on the whole, for any blocks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from immo_kernels import (
    LinearGradients,
    MaskedWmse,
    MaskStream,
    linear_masked_wmse,
    linear_masked_wmse_and_gradients,
    masked_wmse,
)
from immo_kernels._blocks import block_width, feature_blocks
from immo_kernels._products import Products
from immo_kernels.linear_masked_wmse import blocked, reference

STREAM = MaskStream(seed=2**40 + 9, epoch=17)
SCOPES = ["observed", "kept", "dropped"]
# (sample, hidden, feature) and the bounds of the layers; blocks are of 64 columns here.
SHAPES = [
    ((0, 3, 5), [0, 5]),
    ((3, 2, 0), [0, 0]),
    ((4, 0, 70), [0, 70]),
    ((1, 1, 1), [0, 1]),
    ((5, 3, 7), [0, 3, 7]),
    ((4, 8, 64), [0, 64]),
    ((4, 8, 65), [0, 65]),
    ((7, 5, 327), [0, 31, 31, 327]),  # an empty layer; a block that is not full
    ((3, 16, 1025), [0, 1, 1025]),
]
TOLERANCES = {
    # Sums in another order.
    torch.float64: {"rtol": 1e-11, "atol": 1e-14},
    # Products of 16 and sums of 1,025 terms in float32.
    torch.float32: {"rtol": 1e-5, "atol": 2e-6},
}
UPSTREAM = -2.5
NAMES = ("h", "matrix", "bias")


class Largest(TorchDispatchMode):
    """Size of the largest tensor that is made meanwhile; views of the given ones do not count."""

    def __init__(self, given):
        super().__init__()
        self.known = {part.untyped_storage().data_ptr() for part in given}
        self.num_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for part in tree_leaves(results):
            if isinstance(part, torch.Tensor):
                memory = part.untyped_storage()
                if memory.data_ptr() not in self.known:
                    self.num_bytes = max(self.num_bytes, memory.nbytes())
        return results


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(blocked, "block_width", lambda *_: 64)


def problem(shape, segments, dtype=torch.float32, **more):
    rows, hidden, features = shape
    generator = torch.Generator().manual_seed(rows * 1009 + features)
    num_layers = len(segments) - 1
    x = torch.randn(rows, features, generator=generator)
    x[torch.rand(rows, features, generator=generator) < 0.3] = torch.nan
    operands = [
        torch.randn(size, generator=generator).to(dtype).requires_grad_()
        for size in ((rows, hidden), (features, hidden), (features,))
    ]
    arguments = {
        "weight": [0.5 + layer for layer in range(num_layers)],
        "keep_probability": [0.25 + 0.5 * layer / num_layers for layer in range(num_layers)],
        "stream": STREAM,
        "segments": segments,
        "first_feature": 21,
        "measured": torch.rand(rows, num_layers, generator=generator) < 0.7,
        "shown": torch.rand(rows, num_layers, generator=generator) < 0.7,
    }
    uid = torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator)
    return operands, x.to(dtype), uid, arguments | more


def loss_and_gradients(operands, x, uid, **arguments):
    result = linear_masked_wmse(*operands, x, uid, **arguments)
    return result, torch.autograd.grad(result.loss * UPSTREAM, operands)


def truth(operands, x, uid, **arguments):
    """The whole reconstruction in float64, through the reference and autograd."""
    names = ("weight", "scope", "normalizer", "segments", "first_feature", "measured", "shown")
    weight, scope, normalizer, segments, first, measured, shown = (
        arguments.get(name) for name in names
    )
    exact = [part.detach().double().requires_grad_() for part in operands]
    thresholds = [round(p * 2**16) for p in arguments["keep_probability"]]
    result = reference.forward(
        *(*exact, x.double(), uid, weight, thresholds, STREAM.seed, STREAM.epoch),
        *(scope or "observed", normalizer, segments, first, measured, shown),
    )
    gradients = torch.autograd.grad(result[0] * UPSTREAM, exact, allow_unused=True)
    zeros = [torch.zeros_like(part) for part in exact]
    return MaskedWmse(*result), [
        zero if part is None else part for part, zero in zip(gradients, zeros, strict=True)
    ]


def assert_close(found, expected, tolerance):
    result, gradients = found
    torch.testing.assert_close(result.layer_count, expected[0].layer_count, rtol=0, atol=0)
    for name in ("loss", "layer_sum"):
        torch.testing.assert_close(
            getattr(result, name).double(), getattr(expected[0], name), **tolerance, msg=name
        )
    for name, gradient, value in zip(NAMES, gradients, expected[1], strict=True):
        torch.testing.assert_close(gradient.double(), value, **tolerance, msg=f"gradient of {name}")


def assert_equal(found, expected):
    """Loss, sums, counts and gradients."""
    for name, a, b in zip((*MaskedWmse._fields, *NAMES), found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("path", ["default", "reference"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("with_normalizer", [False, True])
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_against_the_whole_in_float64(
    narrow, monkeypatch, path, dtype, scope, with_normalizer, shape, segments
):
    if path != "default":
        monkeypatch.setenv("IMMO_KERNELS", path)
    normalizer = [3.0, 0.0, 70.0][: len(segments) - 1] if with_normalizer else None
    given = problem(shape, segments, dtype, scope=scope, normalizer=normalizer)
    found = loss_and_gradients(*given[:3], **given[3])
    assert_close(found, truth(*given[:3], **given[3]), TOLERANCES[dtype])
    assert [part.dtype for part in found[1]] == [dtype] * 3
    again = loss_and_gradients(*given[:3], **given[3])
    assert_equal((*again[0], *again[1]), (*found[0], *found[1]))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 130),
    cuts=st.lists(st.integers(0, 100), max_size=3),
    scope=st.sampled_from(SCOPES),
)
def test_any_blocks_score_the_same_values(width, cuts, scope):
    """Counts are equal to the bit, sums of the same integers too; gradients up to rounding."""
    segments = [0, *sorted(cuts), 100]
    operands, x, uid, arguments = problem((6, 4, 100), segments, scope=scope)
    with torch.no_grad():
        operands[0].fill_(1)
        operands[1].fill_(0.5)
        operands[2].copy_(torch.arange(100) % 3)
        x.copy_(torch.where(x.isnan(), x, 1.0))
    whole = loss_and_gradients(operands, x, uid, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "block_width", lambda *_: width)
        found = loss_and_gradients(operands, x, uid, **arguments)
    assert torch.equal(found[0].layer_count, whole[0].layer_count)
    assert torch.equal(found[0].layer_sum, whole[0].layer_sum)
    assert torch.equal(found[0].loss, whole[0].loss)
    # Residuals are 1 - x_hat of whole numbers: a gradient of the bias shows what was scored.
    torch.testing.assert_close(found[1], whole[1], **TOLERANCES[torch.float32])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_the_values_scored_are_those_of_the_loss_alone(narrow, monkeypatch, path, scope):
    """A hidden unit a sample: the gradient of its weights is the gradient of x_hat."""
    monkeypatch.setenv("IMMO_KERNELS", path)
    _, x, uid, arguments = problem((9, 1, 300), [0, 100, 300], scope=scope)
    x_hat = torch.randn(9, 300)
    result, gradients = linear_masked_wmse_and_gradients(
        torch.eye(9), x_hat.T.contiguous(), torch.zeros(300), x, uid, **arguments
    )
    leaf = x_hat.clone().requires_grad_()
    expected = masked_wmse(leaf, x, uid, **arguments)
    (gradient,) = torch.autograd.grad(expected.loss, leaf)
    assert torch.equal(gradients.by_matrix.T != 0, gradient != 0)
    assert torch.equal(result.layer_count, expected.layer_count)
    torch.testing.assert_close(gradients.by_matrix.T, gradient, **TOLERANCES[torch.float32])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e30])
def test_values_that_are_not_scored_change_nothing(narrow, scope, poison):
    operands, x, uid, arguments = problem((9, 5, 300), [0, 100, 300], scope=scope)
    found = loss_and_gradients(operands, x, uid, **arguments)
    leaf = torch.full((9, 300), 1e3, requires_grad=True)
    loss = masked_wmse(leaf, x, uid, **arguments).loss
    scored = torch.autograd.grad(loss, leaf)[0] != 0
    assert int((~scored & ~x.isnan()).sum()) > 100
    poisoned = torch.where(~scored & ~x.isnan(), poison, x)
    again = loss_and_gradients(operands, poisoned, uid, **arguments)
    assert_equal((*again[0], *again[1]), (*found[0], *found[1]))


def test_rows_that_were_not_measured_change_nothing(narrow):
    operands, x, uid, arguments = problem((6, 4, 200), [0, 200])
    arguments |= {"measured": torch.tensor([[True], [False]] * 3), "shown": None}
    found = loss_and_gradients(operands, x, uid, **arguments)
    x[1::2] = 1e38
    again = loss_and_gradients(operands, x, uid, **arguments)
    assert_equal((*again[0], *again[1]), (*found[0], *found[1]))


def test_no_tensor_is_larger_than_a_block(narrow):
    operands, x, uid, arguments = problem((64, 4, 4096), [0, 4096], scope="kept")
    out = torch.empty(4096, 4), torch.empty(4096)
    with Largest((*operands, x, uid, *out)) as largest:
        linear_masked_wmse_and_gradients(*operands, x, uid, **arguments, out=out)
    # A block of 64 columns; the whole would be 64 times as much.
    assert 64 * 64 * 4 <= largest.num_bytes <= 2 * 64 * 64 * 4


@pytest.mark.parametrize("of_x", ["transposed", "columns", "steps"])
def test_any_strides(narrow, of_x):
    operands, x, uid, arguments = problem((7, 5, 327), [0, 100, 327], scope="kept")
    expected = loss_and_gradients(operands, x, uid, **arguments)
    view = {
        "transposed": x.T.contiguous().T,
        "columns": torch.cat([x, x], dim=1)[:, :327],
        "steps": x.repeat_interleave(3, dim=1)[:, ::3],
    }[of_x]
    strided = [
        part.detach().T.contiguous().T.requires_grad_() if part.dim() == 2 else part
        for part in operands
    ]
    found = loss_and_gradients(strided, view, uid, **arguments)
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float32])
    assert torch.equal(found[0].layer_count, expected[0].layer_count)


def test_loss_goes_with_the_samples(narrow):
    operands, x, uid, arguments = problem((13, 5, 203), [0, 100, 203], scope="dropped")
    arguments["normalizer"] = [1.0, 1.0]
    result, (by_h, by_matrix, _) = loss_and_gradients(operands, x, uid, **arguments)

    def of(index):
        tables = {name: arguments[name][index] for name in ("measured", "shown")}
        part = [operands[0].detach()[index].requires_grad_(), *operands[1:]]
        return loss_and_gradients(part, x[index], uid[index], **arguments | tables)

    order = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    moved, (moved_by_h, *_) = of(order)
    assert torch.equal(moved.layer_count, result.layer_count)
    torch.testing.assert_close(moved_by_h, by_h[order])
    (head, head_gradients), (tail, tail_gradients) = of(slice(0, 5)), of(slice(5, 13))
    assert torch.equal(head.layer_count + tail.layer_count, result.layer_count)
    torch.testing.assert_close(torch.cat([head_gradients[0], tail_gradients[0]]), by_h)
    whole = head_gradients[1] + tail_gradients[1]
    torch.testing.assert_close(whole, by_matrix, **TOLERANCES[torch.float32])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_data_with_float32_parameters(narrow, dtype):
    operands, x, uid, arguments = problem((7, 5, 327), [0, 100, 327], scope="kept")
    data = x.to(dtype)
    found = loss_and_gradients(operands, data, uid, **arguments)
    assert_close(found, truth(operands, data, uid, **arguments), TOLERANCES[torch.float32])
    assert [part.dtype for part in found[1]] == [torch.float32] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_operands_rounded_as_on_a_gpu(narrow, monkeypatch, dtype):
    """Slopes of 1e-8 reach the gradients, which float16 could not hold before the product."""
    monkeypatch.setattr(blocked, "products_of", lambda *_: Products(dtype, torch.float32))
    monkeypatch.setattr(torch.version, "hip", "as if")
    operands, x, uid, arguments = problem((7, 5, 327), [0, 100, 327], normalizer=[1e8, 1e8])
    data = x.to(dtype)
    found = loss_and_gradients(operands, data, uid, **arguments)
    result, gradients = truth(operands, data, uid, **arguments)
    rounding = {torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    torch.testing.assert_close(found[0].loss.double(), result.loss, rtol=2 * rounding, atol=0)
    for gradient, value in zip(found[1], gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert float((gradient - value).norm() / value.norm()) < 4 * rounding


def test_half_precision_throughout(narrow):
    operands, x, uid, arguments = problem((7, 5, 327), [0, 100, 327], torch.bfloat16)
    found = loss_and_gradients(operands, x, uid, **arguments)
    assert found[0].loss.dtype == torch.float32
    # Sums are float32; only the gradients are rounded to 8 bits.
    result, gradients = truth(operands, x, uid, **arguments)
    torch.testing.assert_close(found[0].loss.double(), result.loss, rtol=1e-5, atol=0)
    for gradient, value in zip(found[1], gradients, strict=True):
        torch.testing.assert_close(gradient.double(), value, rtol=2**-7, atol=1e-5)


def test_gradients_without_autograd_are_those_of_autograd(narrow):
    operands, x, uid, arguments = problem((7, 5, 327), [0, 100, 327], scope="kept")
    result = linear_masked_wmse(*operands, x, uid, **arguments)
    expected = torch.autograd.grad(result.loss, operands)
    out = torch.full((400, 5), torch.nan)[20:347], torch.full((327,), torch.nan)
    again, gradients = linear_masked_wmse_and_gradients(*operands, x, uid, **arguments, out=out)
    assert_equal((*again, *gradients), (*(part.detach() for part in result), *expected))
    assert isinstance(gradients, LinearGradients)
    assert gradients.by_matrix is out[0]
    assert gradients.by_bias is out[1]


def test_without_gradients_the_loss_is_the_same(narrow):
    operands, x, uid, arguments = problem((7, 5, 327), [0, 100, 327], scope="kept")
    expected = linear_masked_wmse(*operands, x, uid, **arguments)
    with torch.no_grad():
        found = linear_masked_wmse(*operands, x, uid, **arguments)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    assert not found.loss.requires_grad


@pytest.mark.parametrize("with_normalizer", [False, True])
def test_gradcheck(narrow, with_normalizer):
    normalizer = [5.0, 2.0] if with_normalizer else None
    operands, x, uid, arguments = problem(
        (3, 2, 80), [0, 4, 80], torch.float64, scope="kept", normalizer=normalizer
    )
    assert torch.autograd.gradcheck(
        lambda *parts: linear_masked_wmse(*parts, x, uid, **arguments).loss, operands
    )


def test_backward_twice_and_second_derivative():
    operands, x, uid, arguments = problem((3, 2, 11), [0, 11])
    loss = linear_masked_wmse(*operands, x, uid, **arguments).loss
    first = torch.autograd.grad(2 * loss, operands, retain_graph=True)
    second = torch.autograd.grad(2 * loss, operands)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match=r"backward can run only once.* Use retain_graph=True"):
        loss.backward()
    loss = linear_masked_wmse(*operands, x, uid, **arguments).loss
    (gradient, *_) = torch.autograd.grad(loss, operands, create_graph=True)
    with pytest.raises(RuntimeError, match="linear_masked_wmse has no second derivative"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(dtype, requires_grad):
    operands, x, uid, arguments = problem((4, 3, 10), [0, 6, 10], dtype)
    operands = [part.detach().requires_grad_(requires_grad) for part in operands]
    fixed = ([1.0, 2.0], [20000, 65536], 5, 6, "kept", None, [0, 6, 10], 3)
    tables = (arguments["measured"], arguments["shown"])
    torch.library.opcheck(
        torch.ops.immo_kernels.linear_masked_wmse.default,
        (*operands, x, uid, *fixed, *tables, True),
    )


def test_a_compiled_graph_holds_the_op_whole():
    operands, x, uid, arguments = problem((4, 3, 10), [0, 6, 10])

    def step(h, matrix, bias):
        return linear_masked_wmse(h * 2, matrix, bias, x, uid, **arguments).loss * 3

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(step(*operands), operands)
    torch.testing.assert_close(torch.autograd.grad(compiled(*operands), operands), expected)


def test_op_asked_for_no_gradients_has_none():
    operands, x, uid, _ = problem((4, 3, 10), [0, 10])
    fixed = ([1.0], [9], 5, 6, "kept", None, [0, 10], 3, None, None)
    loss, *_ = torch.ops.immo_kernels.linear_masked_wmse(*operands, x, uid, *fixed, False)
    with pytest.raises(RuntimeError, match="called with with_gradients=False"):
        loss.backward()


def test_blocks_of_a_layer_begin_where_calls_of_philox_do():
    assert block_width(1024, "cpu") % 8 == 0
    assert block_width(10**9, "cuda") == block_width(10**9, "cpu") == 256
    assert [tuple(block) for block in feature_blocks([0, 300, 300, 600], 256)] == [
        (0, 0, 256),
        (0, 256, 300),
        (2, 300, 556),
        (2, 556, 600),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h": torch.zeros(4)}, r"h must be a floating .* got shape \(4,\)"),
        ({"x": torch.zeros(4, 6, dtype=torch.int64)}, "x must be a floating .* torch.int64"),
        ({"h": torch.zeros(5, 3)}, r"belong to x .* got h \(5, 3\) torch.float32 on cpu, matrix"),
        ({"matrix": torch.zeros(6, 2)}, r"belong to x .* matrix \(6, 2\)"),
        ({"matrix": torch.zeros(3, 6)}, r"belong to x .* matrix \(3, 6\)"),
        ({"bias": torch.zeros(5)}, r"belong to x .* bias \(5,\)"),
        ({"bias": torch.zeros(6).double()}, r"of one dtype .* bias \(6,\) torch.float64"),
        ({"x": torch.zeros(4, 6, device="meta")}, r"one device, .* x \(4, 6\) .* on meta"),
        ({"sample_uid": torch.arange(5)}, r"sample_uid must be \(4,\), .* got shape \(5,\)"),
        ({"scope": "all"}, "scope must be one of observed, kept, dropped, got 'all'"),
        ({"segments": [0, 4, 2, 6]}, r"segments must rise .* got \[0, 4, 2, 6\]"),
        ({"weight": [1, -1]}, r"weight must be finite and >= 0, got \[1, -1\]"),
        ({"normalizer": [1, -5]}, r"normalizer must be finite and >= 0, got \[1, -5\]"),
        ({"keep_probability": 2}, r"keep_probability must be within \[0, 1\], got 2"),
        ({"measured": torch.ones(4, 1, dtype=torch.bool)}, r"measured must be .* \(4, 2\)"),
        ({"first_feature": -8}, "got first_feature -8"),
        ({"out": (torch.zeros(6, 3), torch.zeros(3))}, r"out must be of the shapes .* \(3,\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "h": torch.zeros(4, 3),
        "matrix": torch.zeros(6, 3),
        "bias": torch.zeros(6),
        "x": torch.zeros(4, 6),
        "sample_uid": torch.arange(4),
        "weight": [1.0, 2.0],
        "keep_probability": 0.5,
        "stream": STREAM,
        "segments": [0, 3, 6],
    } | change
    tensors = [arguments.pop(name) for name in ("h", "matrix", "bias", "x", "sample_uid")]
    with pytest.raises(ValueError, match="linear_masked_wmse: .*" + message):
        linear_masked_wmse_and_gradients(*tensors, **arguments)
