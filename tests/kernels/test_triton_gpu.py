"""The Triton path on a GPU: values, gradients, large tensors, graphs. Skipped without one."""

import pytest
import torch

from immo_kernels import MaskStream, dynamic_mask, keep_layers, keep_values, masked_wmse

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]

STREAM = MaskStream(seed=2**40 + 9, epoch=17)
SCOPES = ["observed", "kept", "dropped"]
SHAPES = [
    ((0, 5), [0, 5]),
    ((3, 0), [0, 0]),
    ((1, 1), [0, 1]),
    ((5, 7), [0, 3, 7]),
    ((7, 127), [0, 31, 31, 127]),  # an empty layer
    ((64, 2049), [0, 2049]),
    ((33, 4099), [0, 13, 2100, 4099]),
    ((1025, 5000), [0, 1000, 5000]),  # counted before it is scored, and folded in parts
]
TOLERANCES = {
    # Sums in another order; 5 million squares.
    torch.float32: {"rtol": 5e-6, "atol": 1e-7},
    # Rounded to 8 bits at most twice, as residual and when scaled.
    torch.bfloat16: {"rtol": 2**-7, "atol": 1e-5},
    torch.float16: {"rtol": 2**-10, "atol": 1e-6},
}
UPSTREAM = -2.5


@pytest.fixture(autouse=True)
def _triton(monkeypatch):
    monkeypatch.setenv("IMMO_KERNELS", "triton")


def problem(shape, segments, dtype=torch.float32, **more):
    generator = torch.Generator().manual_seed(shape[0] * 1009 + shape[1])
    num_layers = len(segments) - 1
    x = torch.randn(shape, generator=generator)
    x[torch.rand(shape, generator=generator) < 0.3] = torch.nan
    x_hat = torch.randn(shape, generator=generator).to(dtype)
    uid = torch.randint(-(2**63), 2**63 - 1, (shape[0],), generator=generator)
    tables = {
        name: (torch.rand(shape[0], num_layers, generator=generator) < 0.7).cuda()
        for name in ("measured", "shown")
    }
    arguments = {
        "weight": [0.5 + layer for layer in range(num_layers)],
        "keep_probability": [0.25 + 0.5 * layer / num_layers for layer in range(num_layers)],
        "stream": STREAM,
        "segments": segments,
        "first_feature": 21,
    }
    return x_hat.cuda().requires_grad_(), x.to(dtype).cuda(), uid.cuda(), arguments | tables | more


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


@pytest.mark.parametrize("first_feature", [0, 21, 2**33 + 7])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_mask_is_the_reference_bit_for_bit(shape, segments, dtype, first_feature):
    _, x, uid, arguments = problem(shape, segments, dtype, first_feature=first_feature)
    masked = dynamic_mask(x, uid, **of_mask(arguments))
    assert torch.equal(masked, by_reference(dynamic_mask, x, uid, **of_mask(arguments)))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("normalizer", [None, 7.0])
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_loss_and_gradient(shape, segments, dtype, scope, normalizer):
    x_hat, x, uid, arguments = problem(shape, segments, dtype, scope=scope, normalizer=normalizer)
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    exact = x_hat.detach().double().requires_grad_()
    expected, truth = by_reference(loss_and_gradient, exact, x.double(), uid, **arguments)
    single = TOLERANCES[torch.float32]
    assert torch.equal(result.layer_count, expected.layer_count)
    torch.testing.assert_close(result.loss.double(), expected.loss, **single)
    torch.testing.assert_close(result.layer_sum.double(), expected.layer_sum, **single)
    torch.testing.assert_close(gradient.double(), truth, **TOLERANCES[dtype])
    again, same = loss_and_gradient(x_hat, x, uid, **arguments)
    assert all(torch.equal(a, b) for a, b in zip(again, result, strict=True))
    assert torch.equal(same, gradient)
    taken = x_hat.detach().clone().requires_grad_() * 1
    in_place = masked_wmse(taken, x, uid, **arguments, overwrite_x_hat=True)
    (found,) = torch.autograd.grad(in_place.loss * UPSTREAM, taken)
    assert torch.equal(found, gradient)
    assert torch.equal(in_place.loss, result.loss)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("scope", SCOPES)
def test_values_that_are_not_scored_change_nothing(scope, poison):
    x_hat, x, uid, arguments = problem((64, 3000), [0, 100, 3000], scope=scope)
    result, gradient = loss_and_gradient(x_hat, x, uid, **arguments)
    unscored = gradient == 0
    poisoned = torch.where(unscored, poison, x_hat.detach()).requires_grad_()
    measured_poison = torch.where(unscored & ~x.isnan(), poison, x)
    again, same = loss_and_gradient(poisoned, measured_poison, uid, **arguments)
    assert all(torch.equal(a, b) for a, b in zip(again, result, strict=True))
    assert torch.equal(same, gradient)


def test_keep_layers_is_the_reference_bit_for_bit():
    measured = (torch.rand(5000, 5) < 0.7).cuda()
    uid = torch.arange(5000, device="cuda")
    arguments = {"keep_probability": 0.4, "stream": STREAM}
    shown = keep_layers(measured, uid, **arguments)
    assert torch.equal(shown, by_reference(keep_layers, measured, uid, **arguments))


def test_more_than_2_to_the_31_elements():
    rows, features = 2**13 + 1, 2**18 + 8
    needed = 6 * 2 * rows * features
    if torch.cuda.mem_get_info()[0] < needed + 2**31:
        pytest.skip(f"{needed / 1e9:.0f} GB of GPU memory are not free")
    x = torch.zeros(rows, features, dtype=torch.bfloat16, device="cuda")
    uid = torch.arange(rows, device="cuda")
    last = torch.randn(1, features, device="cuda").bfloat16()
    x[-1] = last
    arguments = {"keep_probability": 0.5, "stream": STREAM}
    masked = dynamic_mask(x, uid, **arguments)
    kept = keep_values(uid[-1:], features, **arguments)
    assert torch.equal(masked[-1:], torch.where(kept, last, 0))
    del masked
    x_hat = torch.zeros_like(x).requires_grad_()
    result = masked_wmse(x_hat * 1, x, uid, weight=1.0, **arguments, overwrite_x_hat=True)
    result.loss.backward()
    assert int(result.layer_count) == rows * features
    torch.testing.assert_close(result.layer_sum[0], last.float().square().sum())
    assert int((x_hat.grad[:-1] != 0).any()) == 0
    torch.testing.assert_close(
        x_hat.grad[-1:].float(), -2 * last.float() / (rows * features), rtol=2**-7, atol=0
    )


def step(x_hat, x, uid, arguments):
    masked = dynamic_mask(x, uid, **of_mask(arguments))
    return masked, masked_wmse(x_hat + 0 * masked, x, uid, **arguments).loss


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_graph_holds_the_ops_whole(backend):
    x_hat, x, uid, arguments = problem((64, 500), [0, 200, 500], scope="kept")
    compiled = torch.compile(step, backend=backend, fullgraph=True)
    masked, loss = compiled(x_hat, x, uid, arguments)
    expected_masked, expected = step(x_hat, x, uid, arguments)
    assert torch.equal(masked, expected_masked)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, x_hat), torch.autograd.grad(expected, x_hat)
    )


@pytest.mark.parametrize("shape", [(64, 500), (1025, 5000)])
def test_a_captured_graph_replays_on_new_data(shape):
    x_hat, x, uid, arguments = problem(shape, [0, 200, shape[1]], scope="kept")

    def gradient():
        masked, loss = step(x_hat, x, uid, arguments)
        return masked, loss, *torch.autograd.grad(loss, x_hat)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            gradient()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gradient()
    with torch.no_grad():
        x_hat.add_(1)
        x.copy_(x.flip(0))
        uid.add_(5)
    graph.replay()
    for found, expected in zip(captured, gradient(), strict=True):
        assert torch.equal(found, expected)
