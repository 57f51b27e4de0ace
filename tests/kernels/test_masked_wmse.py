"""The loss: every path against the definition, value, gradient, sums and counts (Eq. 7)."""

import pytest
import torch

from immo_kernels import (
    MaskedWmse,
    MaskStream,
    dynamic_mask,
    masked_wmse,
    masked_wmse_and_gradient,
)
from immo_kernels.masked_wmse import reference

STREAM = MaskStream(seed=2**40 + 9, epoch=17)
SCOPES = ["observed", "kept", "dropped"]
# (sample, feature) and the bounds of the layers.
SHAPES = [
    ((0, 5), [0, 5]),
    ((3, 0), [0, 0]),
    ((1, 1), [0, 1]),
    ((5, 7), [0, 3, 7]),
    ((4, 64), [0, 64]),
    ((7, 127), [0, 31, 31, 127]),  # an empty layer
    ((3, 1024), [0, 1, 1024]),
    ((2, 1025), [0, 1025]),
    ((2, 3001), [0, 1030, 3001]),
]
TOLERANCES = {
    # Rounding of sums in another order.
    torch.float64: {"rtol": 1e-12, "atol": 1e-15},
    # A sum of n squares in blocked float32 loses about sqrt(n) half-units; n <= 1024.
    torch.float32: {"rtol": 2e-6, "atol": 1e-7},
    # The gradient is rounded to 8 bits twice: as residual and when it is scaled.
    torch.bfloat16: {"rtol": 2**-7, "atol": 1e-5},
    # The same with 11 bits; atol is the smallest half below which it loses bits.
    torch.float16: {"rtol": 2**-10, "atol": 1e-6},
}
UPSTREAM = -2.5


def problem(shape, segments, dtype=torch.float32, missing=0.3, **more):
    generator = torch.Generator().manual_seed(shape[0] * 1009 + shape[1])
    num_layers = len(segments) - 1
    x = torch.randn(shape, generator=generator)
    x[torch.rand(shape, generator=generator) < missing] = torch.nan
    x_hat = torch.randn(shape, generator=generator).to(dtype).requires_grad_()
    arguments = {
        "weight": [0.5 + layer for layer in range(num_layers)],
        "keep_probability": [0.25 + 0.5 * layer / num_layers for layer in range(num_layers)],
        "stream": STREAM,
        "segments": segments,
        "first_feature": 21,
        "measured": torch.rand(shape[0], num_layers, generator=generator) < 0.7,
        "shown": torch.rand(shape[0], num_layers, generator=generator) < 0.7,
    }
    uid = torch.randint(-(2**63), 2**63 - 1, (shape[0],), generator=generator)
    return x_hat, x.to(dtype), uid, arguments | more


def loss_and_gradient(x_hat, x, uid, **arguments):
    result = masked_wmse(x_hat, x, uid, **arguments)
    (gradient,) = torch.autograd.grad(result.loss * UPSTREAM, x_hat)
    return result, gradient


def assert_same(result, other):
    for name, a, b in zip(("loss", "layer_sum", "layer_count"), result, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("path", ["default", "reference"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("with_normalizer", [False, True])
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_definition(oracle, monkeypatch, path, dtype, scope, with_normalizer, shape, segments):
    if path != "default":
        monkeypatch.setenv("IMMO_KERNELS", path)
    x_hat, x, uid, arguments = problem(shape, segments, dtype, scope=scope)
    if with_normalizer:
        arguments["normalizer"] = [3.0, 0.0, 70.0][: len(segments) - 1]
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)

    tables = {name: arguments[name].tolist() for name in ("measured", "shown")}
    expected = oracle.wmse(x_hat.tolist(), x.tolist(), uid.tolist(), **arguments | tables)
    sums_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    exact = TOLERANCES[sums_dtype]
    assert result.layer_count.tolist() == expected.counts
    for name, found, value in (
        ("loss", result.loss, expected.loss),
        ("layer_sum", result.layer_sum, expected.sums),
    ):
        torch.testing.assert_close(
            found, torch.tensor(value, dtype=sums_dtype), **exact, msg=f"{name}: {found} {value}"
        )
    truth = (UPSTREAM * torch.tensor(expected.gradient, dtype=torch.float64)).reshape(shape)
    torch.testing.assert_close(gradient, truth.to(dtype), **TOLERANCES[dtype])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_cpu_path_against_reference_in_float64(scope, shape, segments):
    x_hat, x, uid, arguments = problem(shape, segments, scope=scope)
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    truth = x_hat.detach().double().requires_grad_()
    other, expected = loss_and_gradient(truth, x.double(), uid, **arguments)
    tolerance = TOLERANCES[torch.float32]
    assert torch.equal(result.layer_count, other.layer_count)
    torch.testing.assert_close(result.loss.double(), other.loss, **tolerance)
    torch.testing.assert_close(result.layer_sum.double(), other.layer_sum, **tolerance)
    torch.testing.assert_close(gradient.double(), expected, **tolerance)


@pytest.mark.parametrize("path", ["cpu", "reference"])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_values_that_are_not_scored_change_nothing(monkeypatch, path, scope, poison):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x_hat, x, uid, arguments = problem((9, 300), [0, 100, 300], scope=scope)
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    unscored = gradient == 0
    assert int(unscored.sum()) > 100
    poisoned = torch.where(unscored, poison, x_hat.detach()).requires_grad_()
    # Values which are there but not scored stay there: NaN would turn 'dropped' into missing.
    measured_poison = torch.where(unscored & ~x.isnan(), poison, x)
    again, gradient_again = loss_and_gradient(poisoned, measured_poison, uid, **arguments)
    assert_same(again, result)
    assert torch.equal(gradient_again, gradient)


@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_scopes_partition_what_was_observed(monkeypatch, path):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x_hat, x, uid, arguments = problem((40, 501), [0, 200, 501], normalizer=[7.0, 9.0])
    parts = {scope: loss_and_gradient(x_hat, x, uid, **arguments, scope=scope) for scope in SCOPES}
    (observed, slope), (kept, slope_kept), (dropped, slope_dropped) = (
        parts[scope] for scope in SCOPES
    )
    assert torch.equal(kept.layer_count + dropped.layer_count, observed.layer_count)
    assert int(kept.layer_count.min()) > 0
    assert int(dropped.layer_count.min()) > 0
    torch.testing.assert_close(kept.layer_sum + dropped.layer_sum, observed.layer_sum)
    torch.testing.assert_close(kept.loss + dropped.loss, observed.loss)
    assert torch.equal(slope_kept + slope_dropped, slope)
    assert not ((slope_kept != 0) & (slope_dropped != 0)).any()


def test_kept_is_what_the_dynamic_mask_shows():
    x_hat, x, uid, arguments = problem((40, 501), [0, 200, 501], measured=None, scope="kept")
    of_mask = {
        name: arguments[name]
        for name in ("keep_probability", "stream", "segments", "first_feature", "shown")
    }
    visible = dynamic_mask(x, uid, **of_mask) != 0
    _, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    assert torch.equal(gradient != 0, visible)


@pytest.mark.parametrize("probability", [0.0, 1.0])
@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_probability_zero_and_one(monkeypatch, path, probability):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x_hat, x, uid, arguments = problem((6, 90), [0, 90], shown=None, measured=None)
    arguments["keep_probability"] = probability
    all_scope, none_scope = ("kept", "dropped") if probability else ("dropped", "kept")
    observed, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    everything, same_gradient = loss_and_gradient(x_hat, x, uid, **arguments, scope=all_scope)
    assert_same(everything, observed)
    assert torch.equal(same_gradient, gradient)
    nothing, zero = loss_and_gradient(x_hat, x, uid, **arguments, scope=none_scope)
    assert float(nothing.loss.detach()) == 0
    assert nothing.layer_count.tolist() == [0]
    assert torch.equal(zero, torch.zeros_like(x_hat))


@pytest.mark.parametrize("path", ["cpu", "reference"])
@pytest.mark.parametrize("how", ["missing", "not measured", "weight", "normalizer"])
def test_nothing_scored_is_zero_with_zero_gradient(monkeypatch, path, how):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x_hat, x, uid, arguments = problem((6, 90), [0, 90], shown=None, measured=None)
    if how == "missing":
        x = torch.full_like(x, torch.nan)
    elif how == "not measured":
        arguments["measured"] = torch.zeros(6, 1, dtype=torch.bool)
    else:
        arguments[how] = 0.0
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    assert float(result.loss.detach()) == 0
    assert torch.equal(gradient, torch.zeros_like(x_hat))


def test_loss_goes_with_the_samples():
    x_hat, x, uid, arguments = problem((31, 203), [0, 100, 203], scope="dropped")
    arguments["normalizer"] = [1.0, 1.0]
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)

    def of(index):
        guess = x_hat.detach()[index].requires_grad_()
        tables = {name: arguments[name][index] for name in ("measured", "shown")}
        return loss_and_gradient(guess, x[index], uid[index], **arguments | tables)

    order = torch.randperm(31, generator=torch.Generator().manual_seed(1))
    moved, moved_gradient = of(order)
    assert torch.equal(moved.layer_count, result.layer_count)
    torch.testing.assert_close(moved.loss, result.loss)
    assert torch.equal(moved_gradient, gradient[order])
    (head, head_gradient), (tail, tail_gradient) = of(slice(0, 10)), of(slice(10, 31))
    assert torch.equal(head.layer_count + tail.layer_count, result.layer_count)
    assert torch.equal(torch.cat([head_gradient, tail_gradient]), gradient)


def test_a_layer_alone_is_scored_as_among_all():
    x_hat, x, uid, arguments = problem((12, 203), [0, 101, 203], scope="kept")
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    part = x_hat.detach()[:, 101:].requires_grad_()
    alone, part_gradient = loss_and_gradient(
        part,
        x[:, 101:],
        uid,
        weight=arguments["weight"][1],
        keep_probability=arguments["keep_probability"][1],
        stream=STREAM,
        scope="kept",
        first_feature=21 + 101,
        measured=arguments["measured"][:, 1:],
        shown=arguments["shown"][:, 1:],
    )
    assert alone.layer_count.item() == result.layer_count[1].item()
    torch.testing.assert_close(alone.layer_sum[0], result.layer_sum[1])
    assert torch.equal(part_gradient, gradient[:, 101:])


STRIDES = {
    "transposed": lambda x: x.T.contiguous().T,
    "columns": lambda x: torch.cat([x, x], dim=1)[:, : x.shape[1]],
    "rows": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "steps": lambda x: x.repeat_interleave(3, dim=1)[:, ::3],
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("of_x", STRIDES)
@pytest.mark.parametrize("of_x_hat", STRIDES)
def test_any_strides(of_x_hat, of_x, overwrite):
    x_hat, x, uid, arguments = problem((12, 203), [0, 101, 203], scope="kept")
    expected, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    leaf = x_hat.detach().clone().requires_grad_()
    view = STRIDES[of_x_hat](leaf * 1)
    assert not view.is_contiguous()
    result = masked_wmse(view, STRIDES[of_x](x), uid, **arguments, overwrite_x_hat=overwrite)
    (found,) = torch.autograd.grad(result.loss * UPSTREAM, leaf)
    assert_same(result, expected)
    assert torch.equal(found, gradient)


@pytest.mark.parametrize("scope", SCOPES)
def test_two_runs_and_one_and_two_threads_are_bit_equal(two_threads, scope):
    x_hat, x, uid, arguments = problem((67, 1025), [0, 300, 1025], scope=scope)
    parallel = [loss_and_gradient(x_hat, x, uid, **arguments) for _ in range(2)]
    two_threads()
    serial, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    for result, gradient_again in parallel:
        assert_same(result, serial)
        assert torch.equal(gradient_again, gradient)


def test_layers_shorter_and_longer_than_a_block_sum_exactly():
    # Squares of small integers add without rounding, so blocks must neither overlap nor gap.
    for num_features in (1, 63, 1023, 1024, 1025, 2048, 5000):
        x = torch.zeros(3, num_features)
        x_hat = (torch.arange(3 * num_features) % 4).float().reshape(3, num_features)
        result = masked_wmse(
            x_hat, x, torch.arange(3), weight=1.0, keep_probability=1.0, stream=STREAM
        )
        assert float(result.layer_sum) == float(x_hat.square().sum())


# --- The gradient takes the memory of x_hat ---


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("scope", SCOPES)
def test_overwriting_gives_the_same_gradient_in_the_same_memory(dtype, scope):
    x_hat, x, uid, arguments = problem((9, 150), [0, 60, 150], dtype, scope=scope)
    expected, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    leaf = x_hat.detach().clone().requires_grad_()
    guess = leaf * 1
    seen = []
    guess.register_hook(lambda gradient: seen.append(gradient.data_ptr()))
    memory = guess.data_ptr()
    result = masked_wmse(guess, x, uid, **arguments, overwrite_x_hat=True)
    (found,) = torch.autograd.grad(result.loss * UPSTREAM, leaf)
    assert_same(result, expected)
    assert torch.equal(found, gradient)
    assert seen == [memory]


def test_slices_of_one_tensor_can_both_be_overwritten():
    x_hat, x, uid, arguments = problem((9, 150), [0, 150], measured=None, shown=None)
    leaf = x_hat.detach().clone().requires_grad_()
    whole = leaf * 1
    of_slice = {name: arguments[name] for name in ("weight", "keep_probability", "stream")}
    loss = sum(
        masked_wmse(
            whole[:, part], x[:, part], uid, **of_slice, normalizer=1.0, overwrite_x_hat=True
        ).loss
        for part in (slice(0, 60), slice(60, 150))
    )
    (found,) = torch.autograd.grad(loss, leaf)
    _, gradient = loss_and_gradient(x_hat, x, uid, **arguments, normalizer=[1.0])
    torch.testing.assert_close(found * UPSTREAM, gradient)


def test_overwriting_runs_backward_once():
    x_hat, x, uid, arguments = problem((4, 9), [0, 9])
    result = masked_wmse(x_hat * 1, x, uid, **arguments, overwrite_x_hat=True)
    result.loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"backward can run only once.* not overwrite_x_hat"):
        result.loss.backward()


def test_overwriting_tells_whoever_saved_x_hat():
    x_hat, x, uid, arguments = problem((4, 9), [0, 9])
    guess = x_hat * 1
    square = guess.square().sum()
    result = masked_wmse(guess, x, uid, **arguments, overwrite_x_hat=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (result.loss + square).backward()


def test_without_gradient_x_hat_is_not_touched():
    x_hat, x, uid, arguments = problem((4, 9), [0, 9])
    guess = x_hat.detach().clone()
    result = masked_wmse(guess, x, uid, **arguments, overwrite_x_hat=True)
    assert torch.equal(guess, x_hat.detach())
    assert not result.loss.requires_grad
    with torch.no_grad():
        assert_same(masked_wmse(x_hat * 1, x, uid, **arguments, overwrite_x_hat=True), result)


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (lambda leaf: leaf, "got a leaf that requires a gradient"),
        (lambda leaf: leaf[:, :], "got a leaf that requires a gradient"),
        (lambda leaf: (leaf * 1)[:1].expand(4, 9), r"an expanded tensor with strides \(0, 1\)"),
    ],
)
def test_x_hat_that_cannot_be_overwritten_is_refused(guess, message):
    x_hat, x, uid, arguments = problem((4, 9), [0, 9])
    with pytest.raises(ValueError, match=message):
        masked_wmse(guess(x_hat), x, uid, **arguments, overwrite_x_hat=True)


# --- Autograd ---


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("function", ["op", "reference"])
def test_gradcheck(scope, function):
    every_layer = {"measured": None, "shown": None, "scope": scope}
    x_hat, x, uid, arguments = problem((3, 11), [0, 4, 11], torch.float64, **every_layer)
    assert float(masked_wmse(x_hat.detach(), x, uid, **arguments).loss) > 0
    if function == "op":
        assert torch.autograd.gradcheck(lambda g: masked_wmse(g, x, uid, **arguments).loss, x_hat)
        return
    fixed = (x, uid, [0.5, 2.0], [16384, 40000], 1, 2, scope, None, [0, 4, 11], 3, None, None)
    assert torch.autograd.gradcheck(lambda g: reference.forward(g, *fixed, None)[0], x_hat)
    assert torch.autograd.gradgradcheck(lambda g: reference.forward(g, *fixed, None)[0], x_hat)


@pytest.mark.parametrize("overwrite", [False, True])
def test_second_derivative_is_refused(overwrite):
    x_hat, x, uid, arguments = problem((3, 11), [0, 11])
    guess = x_hat * 1
    loss = masked_wmse(guess, x, uid, **arguments, overwrite_x_hat=overwrite).loss
    (gradient,) = torch.autograd.grad(loss, x_hat, create_graph=True)
    with pytest.raises(RuntimeError, match="masked_wmse has no second derivative"):
        gradient.square().sum().backward()


def test_backward_twice_gives_the_same_gradient():
    x_hat, x, uid, arguments = problem((3, 11), [0, 11])
    loss = masked_wmse(x_hat, x, uid, **arguments).loss
    (first,) = torch.autograd.grad(loss, x_hat, retain_graph=True)
    (second,) = torch.autograd.grad(loss, x_hat)
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match=r"backward can run only once.* Use retain_graph=True"):
        loss.backward()


def test_only_the_loss_is_differentiable():
    x_hat, x, uid, arguments = problem((3, 11), [0, 11])
    result = masked_wmse(x_hat, x, uid, **arguments)
    assert result.loss.requires_grad
    assert not result.layer_sum.requires_grad
    assert not result.layer_count.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(dtype, requires_grad):
    x_hat, x, uid, arguments = problem((4, 10), [0, 6, 10], dtype)
    x_hat = x_hat.detach().requires_grad_(requires_grad)
    fixed = ([1.0, 2.0], [20000, 65536], 5, 6, "kept", None, [0, 6, 10], 3)
    tables = (arguments["measured"], arguments["shown"])
    torch.library.opcheck(
        torch.ops.immo_kernels.masked_wmse.default, (x_hat, x, uid, *fixed, *tables, True)
    )


def test_a_compiled_graph_holds_the_ops_whole():
    x_hat, x, uid, arguments = problem((4, 10), [0, 6, 10])

    def step(x_hat, x):
        masked = dynamic_mask(x, uid, keep_probability=0.5, stream=STREAM, segments=[0, 6, 10])
        return masked_wmse(x_hat + 0 * masked, x, uid, **arguments, overwrite_x_hat=True).loss

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    (expected,) = torch.autograd.grad(step(x_hat, x), x_hat)
    (found,) = torch.autograd.grad(compiled(x_hat, x), x_hat)
    torch.testing.assert_close(found, expected)


def test_op_asked_for_no_gradient_has_none():
    x_hat, x, uid, _ = problem((4, 10), [0, 10])
    loss, *_ = torch.ops.immo_kernels.masked_wmse(
        x_hat, x, uid, [1.0], [9], 5, 6, "kept", None, [0, 10], 3, None, None, False
    )
    with pytest.raises(RuntimeError, match="called with with_gradient=False"):
        loss.backward()


# --- Bad input ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_hat": torch.zeros(6)}, r"x_hat must be a floating .* got shape \(6,\)"),
        ({"x": torch.zeros(4, 6, dtype=torch.bool)}, "x must be a floating .* torch.bool"),
        ({"x_hat": torch.zeros(4, 5)}, r"one shape .* x_hat \(4, 5\) on cpu, x \(4, 6\) on cpu"),
        ({"x": torch.zeros(4, 6, device="meta")}, r"one device, .* x \(4, 6\) on meta"),
        ({"sample_uid": torch.arange(5)}, r"sample_uid must be \(4,\), .* got shape \(5,\)"),
        ({"scope": "all"}, "scope must be one of observed, kept, dropped, got 'all'"),
        ({"segments": [0, 4, 2, 6]}, r"segments must rise .* got \[0, 4, 2, 6\]"),
        ({"segments": [0, 2, 4, 6]}, "weight must hold one number for each of 3 layers"),
        ({"weight": [1, -1]}, r"weight must be finite and >= 0, got \[1, -1\]"),
        ({"weight": [1, float("inf")]}, "weight must be finite"),
        ({"weight": [1.0]}, "weight must hold one number for each of 2 layers"),
        ({"normalizer": [1, -5]}, r"normalizer must be finite and >= 0, got \[1, -5\]"),
        ({"normalizer": [float("nan")] * 2}, "normalizer must be finite"),
        ({"keep_probability": 2}, r"keep_probability must be within \[0, 1\], got 2"),
        ({"measured": torch.ones(4, 1, dtype=torch.bool)}, r"measured must be .* \(4, 2\)"),
        ({"shown": torch.ones(5, 2, dtype=torch.bool)}, r"shown must be .* got shape \(5, 2\)"),
        ({"first_feature": -8}, "got first_feature -8"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "x_hat": torch.zeros(4, 6),
        "x": torch.zeros(4, 6),
        "sample_uid": torch.arange(4),
        "weight": [1.0, 2.0],
        "keep_probability": 0.5,
        "stream": STREAM,
        "segments": [0, 3, 6],
    } | change
    tensors = [arguments.pop(name) for name in ("x_hat", "x", "sample_uid")]
    with pytest.raises(ValueError, match="masked_wmse: .*" + message):
        masked_wmse(*tensors, **arguments)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("scope", ["observed", "kept", "dropped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_without_autograd_is_that_of_autograd(dtype, scope, overwrite):
    generator = torch.Generator().manual_seed(4)
    x, x_hat = torch.randn(2, 13, 37, generator=generator, dtype=dtype)
    x[torch.rand(13, 37, generator=generator) < 0.3] = torch.nan
    uid = torch.arange(13)
    options = {
        "weight": [0.5, 2.0],
        "keep_probability": [0.4, 0.8],
        "stream": MaskStream(seed=9, epoch=2),
        "segments": [0, 11, 37],
        "scope": scope,
    }
    leaf = x_hat.clone().requires_grad_()
    expected = masked_wmse(leaf, x, uid, **options)
    expected.loss.backward()

    given = x_hat.clone()
    result, gradient = masked_wmse_and_gradient(given, x, uid, overwrite_x_hat=overwrite, **options)

    torch.testing.assert_close(
        result, MaskedWmse(*(part.detach() for part in expected)), rtol=0, atol=0
    )
    torch.testing.assert_close(gradient, leaf.grad, rtol=0, atol=0)
    assert (gradient.data_ptr() == given.data_ptr()) is overwrite
