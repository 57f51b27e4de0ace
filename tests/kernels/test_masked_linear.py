"""Mask and first layer in feature blocks: the reference on the whole, for any blocks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from immo_kernels import MaskStream, dynamic_mask, masked_linear, masked_linear_by_matrix
from immo_kernels._products import Products
from immo_kernels.masked_linear import blocked, reference

STREAM = MaskStream(seed=2**40 + 9, epoch=17)
# (sample, feature, out); blocks are of 64 columns here.
SHAPES = [(0, 5, 3), (3, 0, 2), (4, 70, 0), (1, 1, 1), (4, 64, 8), (4, 65, 8), (7, 327, 5)]
TOLERANCES = {
    torch.float64: {"rtol": 1e-11, "atol": 1e-13},
    # Sums of 327 terms in float32, in another order.
    torch.float32: {"rtol": 1e-5, "atol": 2e-5},
}


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


def problem(shape, dtype=torch.float32, **more):
    samples, features, out = shape
    generator = torch.Generator().manual_seed(samples * 1009 + features)
    x = torch.randn(samples, features, generator=generator).to(dtype)
    x[torch.rand(samples, features, generator=generator) < 0.3] = torch.nan
    matrix = torch.randn(out, features, generator=generator).to(dtype).requires_grad_()
    bias = torch.randn(out, generator=generator).to(dtype).requires_grad_()
    uid = torch.randint(-(2**63), 2**63 - 1, (samples,), generator=generator)
    arguments = {"keep_probability": 0.6, "stream": STREAM, "first_feature": 21}
    return x, matrix, bias, uid, arguments | more


def truth(x, matrix, bias, uid, arguments, upstream):
    exact = [part.detach().double().requires_grad_() for part in (matrix, bias)]
    threshold = round(arguments["keep_probability"] * 2**16)
    result = reference.forward(
        *(x.double(), *exact, uid, threshold, STREAM.seed, STREAM.epoch),
        *(arguments["first_feature"], arguments.get("rows")),
    )
    return result, torch.autograd.grad(result, exact, upstream.double())


@pytest.mark.parametrize("path", ["default", "reference"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("rows", [None, (), (2,), (3, 0)])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_the_whole_in_float64(narrow, monkeypatch, path, dtype, rows, shape):
    if path != "default":
        monkeypatch.setenv("IMMO_KERNELS", path)
    if rows is not None:
        rows = torch.tensor([row for row in rows if row < shape[0]], dtype=torch.int64)
    x, matrix, bias, uid, arguments = problem(shape, dtype, rows=rows)
    found = masked_linear(x, matrix, bias, uid, **arguments)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradients = torch.autograd.grad(found, (matrix, bias), upstream)
    expected, truths = truth(x, matrix, bias, uid, arguments, upstream)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, **TOLERANCES[dtype], msg="value")
    for name, gradient, value in zip(("matrix", "bias"), gradients, truths, strict=True):
        torch.testing.assert_close(gradient.double(), value, **TOLERANCES[dtype], msg=name)
    again = masked_linear(x, matrix, bias, uid, **arguments)
    assert torch.equal(again, found)
    assert torch.equal(torch.autograd.grad(again, matrix, upstream)[0], gradients[0])


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 130), first_feature=st.integers(0, 20))
def test_any_blocks_mask_the_same_values(width, first_feature):
    """Sums of whole numbers do not round, so a value masked otherwise would show."""
    x, _, _, uid, arguments = problem((6, 100, 1), first_feature=first_feature)
    x.copy_(torch.where(x.isnan(), x, torch.arange(600).view(6, 100) % 7 + 1.0))
    visible = dynamic_mask(x, uid, **arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "block_width", lambda *_: width)
        found = masked_linear(x, torch.eye(100), torch.zeros(100), uid, **arguments)
        gradient = masked_linear_by_matrix(torch.eye(6), x, uid, **arguments)
    assert torch.equal(found, visible)
    assert torch.equal(gradient, visible)


@pytest.mark.parametrize("path", ["cpu", "reference"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e30])
def test_hidden_values_and_other_rows_change_nothing(narrow, monkeypatch, path, poison):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x, matrix, bias, uid, arguments = problem((9, 300, 4), rows=torch.tensor([7, 1, 2]))
    found = masked_linear(x, matrix, bias, uid, **arguments)
    mask = {name: value for name, value in arguments.items() if name != "rows"}
    hidden = (dynamic_mask(x, uid, **mask) == 0) & ~x.isnan()
    poisoned = torch.where(hidden, poison, x)
    others = torch.ones(9, dtype=torch.bool).index_fill(0, arguments["rows"], False)
    poisoned[others] = poison
    assert torch.equal(masked_linear(poisoned, matrix, bias, uid, **arguments), found)
    upstream = torch.ones_like(found)
    gradients = [
        masked_linear_by_matrix(upstream, data, uid, **arguments) for data in (x, poisoned)
    ]
    assert torch.equal(*gradients)


def test_masks_go_with_the_sample(narrow):
    x, matrix, bias, uid, arguments = problem((13, 203, 6))
    found = masked_linear(x, matrix, bias, uid, **arguments)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(1))
    moved = masked_linear(x[order], matrix, bias, uid[order], **arguments)
    torch.testing.assert_close(moved, found[order], **TOLERANCES[torch.float32])
    chosen = masked_linear(x, matrix, bias, uid, **arguments, rows=order[:5])
    torch.testing.assert_close(chosen, found[order[:5]], **TOLERANCES[torch.float32])


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 6))
def test_halves_of_a_batch_have_the_masks_of_the_whole(cut):
    """Sums of whole numbers do not round, so a value masked otherwise would show."""
    x, _, _, uid, arguments = problem((6, 100, 1))
    x.copy_(torch.where(x.isnan(), x, torch.arange(600).view(6, 100) % 7 + 1.0))
    matrix, bias = torch.eye(100), torch.zeros(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked, "block_width", lambda *_: 64)
        whole = masked_linear(x, matrix, bias, uid, **arguments)
        halves = [
            masked_linear(x[part], matrix, bias, uid[part], **arguments)
            for part in (slice(0, cut), slice(cut, 6))
        ]
    assert torch.equal(torch.cat(halves), whole)
    assert torch.equal(whole, dynamic_mask(x, uid, **arguments))


def test_no_tensor_is_larger_than_a_block(narrow):
    x, matrix, bias, uid, arguments = problem((64, 4096, 4))
    out = torch.empty(4, 4096)
    with Largest((x, matrix, bias, uid, out)) as largest, torch.no_grad():
        found = masked_linear(x, matrix, bias, uid, **arguments)
        masked_linear_by_matrix(found, x, uid, **arguments, out=out)
    # A block of 64 columns; the whole would be 64 times as much.
    assert 64 * 64 * 4 <= largest.num_bytes <= 2 * 64 * 64 * 4


@pytest.mark.parametrize("of_x", ["transposed", "columns", "steps"])
def test_any_strides(narrow, of_x):
    x, matrix, bias, uid, arguments = problem((7, 327, 5))
    view = {
        "transposed": x.T.contiguous().T,
        "columns": torch.cat([x, x], dim=1)[:, :327],
        "steps": x.repeat_interleave(3, dim=1)[:, ::3],
    }[of_x]
    for rows in (None, torch.tensor([5, 2])):
        arguments["rows"] = rows
        expected = masked_linear(x, matrix, bias, uid, **arguments)
        assert torch.equal(masked_linear(view, matrix, bias, uid, **arguments), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_data_with_float32_parameters(narrow, dtype):
    x, matrix, bias, uid, arguments = problem((7, 327, 5))
    data = x.to(dtype)
    found = masked_linear(data, matrix, bias, uid, **arguments)
    upstream = torch.full_like(found, 1e-9)
    gradients = torch.autograd.grad(found, (matrix, bias), upstream)
    expected, truths = truth(data, matrix, bias, uid, arguments, upstream)
    torch.testing.assert_close(found.double(), expected, **TOLERANCES[torch.float32])
    torch.testing.assert_close(gradients[0].double(), truths[0], rtol=1e-5, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_operands_rounded_as_on_a_gpu(narrow, monkeypatch, dtype):
    """A gradient of 1e-9 is brought to a scale that float16 can hold."""
    monkeypatch.setattr(blocked, "products_of", lambda *_: Products(dtype, torch.float32))
    monkeypatch.setattr(torch.version, "hip", "as if")
    x, matrix, bias, uid, arguments = problem((7, 327, 5))
    data = x.to(dtype)
    found = masked_linear(data, matrix, bias, uid, **arguments)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(2)) * 1e-9
    gradients = torch.autograd.grad(found, (matrix, bias), upstream)
    expected, truths = truth(data, matrix, bias, uid, arguments, upstream)
    rounding = {torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
    for part, value in zip((found, *gradients), (expected, *truths), strict=True):
        assert part.dtype == torch.float32
        error = (part.detach() - value.detach()).norm() / value.detach().norm()
        assert float(error) < 4 * rounding


def test_gradient_into_a_given_tensor(narrow):
    x, matrix, bias, uid, arguments = problem((7, 327, 5))
    found = masked_linear(x, matrix, bias, uid, **arguments)
    upstream = torch.randn(found.shape)
    (expected,) = torch.autograd.grad(found, matrix, upstream)
    out = torch.full((5, 400), torch.nan)[:, 30:357]
    assert masked_linear_by_matrix(upstream, x, uid, **arguments, out=out) is out
    torch.testing.assert_close(out, expected, **TOLERANCES[torch.float32])


def test_gradcheck(narrow):
    x, matrix, bias, uid, arguments = problem((3, 80, 2), torch.float64)
    assert torch.autograd.gradcheck(
        lambda *parts: masked_linear(x, *parts, uid, **arguments), (matrix, bias)
    )


def test_second_derivative_is_refused():
    x, matrix, bias, uid, arguments = problem((3, 11, 2))
    loss = masked_linear(x, matrix, bias, uid, **arguments).square().sum()
    (gradient,) = torch.autograd.grad(loss, matrix, create_graph=True)
    with pytest.raises(RuntimeError, match="masked_linear has no second derivative"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("rows", [None, torch.tensor([2, 0])])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(rows, requires_grad):
    x, matrix, bias, uid, _ = problem((4, 10, 3))
    operands = [part.detach().requires_grad_(requires_grad) for part in (matrix, bias)]
    fixed = (uid, 20000, 5, 6, 3, rows)
    torch.library.opcheck(torch.ops.immo_kernels.masked_linear.default, (x, *operands, *fixed))
    upstream = torch.randn(4 if rows is None else 2, 3)
    torch.library.opcheck(
        torch.ops.immo_kernels.masked_linear_by_matrix.default, (upstream, x, *fixed)
    )


def test_a_compiled_graph_holds_the_op_whole():
    x, matrix, bias, uid, arguments = problem((4, 10, 3))

    def step(matrix, bias):
        return masked_linear(x, matrix * 2, bias, uid, **arguments).square().sum()

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(step(matrix, bias), (matrix, bias))
    found = torch.autograd.grad(compiled(matrix, bias), (matrix, bias))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(4)}, r"x must be a floating .* got shape \(4,\)"),
        ({"x": torch.zeros(4, 6, requires_grad=True)}, "x is not differentiated"),
        ({"matrix": torch.zeros(3, 5)}, r"matrix \(out, feature\) .* got matrix \(3, 5\)"),
        ({"matrix": torch.zeros(3, 6, dtype=torch.int64)}, "of one floating dtype"),
        ({"bias": torch.zeros(2)}, r"bias \(2,\)"),
        ({"bias": torch.zeros(3).double()}, "of one floating dtype"),
        ({"sample_uid": torch.arange(5)}, r"sample_uid must be \(4,\), .* got shape \(5,\)"),
        ({"keep_probability": 1.5}, r"keep_probability must be within \[0, 1\], got 1.5"),
        ({"keep_probability": [0.5, 0.5]}, "keep_probability must hold one number for each of 1"),
        ({"rows": torch.zeros(2, 2)}, r"rows must be \(row,\), torch.int64, .* \(2, 2\)"),
        ({"rows": torch.zeros(2)}, "rows must be .* torch.float32"),
        ({"first_feature": 2**34 - 5}, "features must lie in 0 to"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "x": torch.zeros(4, 6),
        "matrix": torch.zeros(3, 6),
        "bias": torch.zeros(3),
        "sample_uid": torch.arange(4),
        "keep_probability": 0.5,
        "stream": STREAM,
    } | change
    tensors = [arguments.pop(name) for name in ("x", "matrix", "bias", "sample_uid")]
    with pytest.raises(ValueError, match="masked_linear: .*" + message):
        masked_linear(*tensors, **arguments)


@pytest.mark.parametrize(("upstream", "out"), [((3, 2), None), ((4, 2), (2, 5)), ((4, 2), (6, 2))])
def test_gradient_of_other_shapes_is_refused(upstream, out):
    out = None if out is None else torch.zeros(out)
    with pytest.raises(ValueError, match=r"masked_linear: upstream must be \(4, out\) and out"):
        masked_linear_by_matrix(
            torch.zeros(upstream),
            torch.zeros(4, 6),
            torch.arange(4),
            keep_probability=0.5,
            stream=STREAM,
            out=out,
        )
