"""Feature blocks on a GPU: values, gradients, memory, graphs. Skipped without one."""

import pytest
import torch
import torch.nn.functional as F

from immo_kernels import (
    MaskStream,
    dynamic_mask,
    linear_masked_wmse,
    linear_masked_wmse_and_gradients,
    masked_linear,
    masked_linear_by_matrix,
    masked_wmse,
)
from immo_kernels.linear_masked_wmse import blocked as last
from immo_kernels.masked_linear import blocked as first

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]

STREAM = MaskStream(seed=2**40 + 9, epoch=17)
SCOPES = ["observed", "kept", "dropped"]
# Data in half precision meet parameters rounded to 8 or 11 bits; float32 products are those of
# torch, without TF32.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2**-6, torch.float16: 2**-9}


@pytest.fixture(autouse=True)
def _triton_in_narrow_blocks(monkeypatch):
    monkeypatch.setenv("IMMO_KERNELS", "triton")
    for module in (last, first):
        monkeypatch.setattr(module, "block_width", lambda *_: 512)


def problem(rows, features, dtype=torch.float32, hidden=64):
    generator = torch.Generator("cuda").manual_seed(features)
    x = torch.randn(rows, features, generator=generator, device="cuda", dtype=dtype)
    x[torch.rand(x.shape, generator=generator, device="cuda") < 0.3] = torch.nan
    operands = [
        torch.randn(size, generator=generator, device="cuda").div_(hidden**0.5).requires_grad_()
        for size in ((rows, hidden), (features, hidden), (features,))
    ]
    return operands, x, torch.arange(rows, device="cuda") * 7919


def assert_near(found, truth, tolerance, name):
    error = float((found.double() - truth).norm() / truth.norm().clamp(min=1e-300))
    assert error <= tolerance, f"{name} is off by {error:.1e}"


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("normalizer", [None, 7.0])
@pytest.mark.parametrize("segments", [[0, 5000], [0, 13, 13, 2100, 4099]])
def test_last_layer_and_loss(segments, dtype, scope, normalizer):
    operands, x, uid = problem(300, segments[-1], dtype)
    arguments = {"weight": 2.0, "keep_probability": 0.6, "stream": STREAM, "scope": scope}
    arguments |= {"segments": segments, "normalizer": normalizer, "first_feature": 8}

    def run():
        result = linear_masked_wmse(*operands, x, uid, **arguments)
        return result, torch.autograd.grad(result.loss * -2.5, operands)

    result, gradients = run()
    exact = [part.detach().double().requires_grad_() for part in operands]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMMO_KERNELS", "reference")
        expected = masked_wmse(F.linear(*exact), x.double(), uid, **arguments)
        truths = torch.autograd.grad(expected.loss * -2.5, exact)
    assert torch.equal(result.layer_count, expected.layer_count)
    assert_near(result.loss, expected.loss, TOLERANCES[dtype], "loss")
    for name, gradient, truth in zip(("h", "matrix", "bias"), gradients, truths, strict=True):
        assert_near(gradient, truth, TOLERANCES[dtype], name)
    again, same = run()
    assert all(
        torch.equal(a, b) for a, b in zip((*again, *same), (*result, *gradients), strict=True)
    )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("rows", [None, (7, 0, 299)])
def test_mask_and_first_layer(dtype, rows):
    _, x, uid = problem(300, 4099, dtype)
    rows = None if rows is None else torch.tensor(rows, device="cuda")
    masking = {"keep_probability": 0.6, "stream": STREAM, "first_feature": 8}
    matrix = (torch.randn(64, 4099, device="cuda") / 64).requires_grad_()
    found = masked_linear(x, matrix, torch.zeros(64, device="cuda"), uid, **masking, rows=rows)
    upstream = torch.randn_like(found) * 1e-9
    (gradient,) = torch.autograd.grad(found, matrix, upstream)
    masked = dynamic_mask(x, uid, **masking)
    masked = (masked if rows is None else masked[rows]).double()
    assert_near(found, masked @ matrix.detach().double().T, TOLERANCES[dtype], "value")
    assert_near(gradient, upstream.double().T @ masked, TOLERANCES[dtype], "gradient")
    out = torch.empty_like(gradient)
    masked_linear_by_matrix(upstream, x, uid, **masking, rows=rows, out=out)
    assert torch.equal(out, gradient)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_memory_does_not_grow_with_the_features(dtype):
    def peak(features):
        operands, x, uid = problem(512, features, dtype)
        out = tuple(torch.empty_like(part) for part in operands[1:])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        linear_masked_wmse_and_gradients(
            *operands, x, uid, weight=1.0, keep_probability=0.5, stream=STREAM, out=out
        )
        masked_linear(
            *(x, operands[1].T, torch.zeros(64, device="cuda"), uid),
            keep_probability=0.5,
            stream=STREAM,
        )
        return torch.cuda.max_memory_allocated() - before

    narrow, wide = peak(1 << 14), peak(1 << 17)
    # Eight times the features: lists of partial sums grow, no tensor of the data's size does.
    assert wide <= narrow + 512 * (1 << 17) // 8


def test_a_captured_graph_replays_on_new_data():
    operands, x, uid = problem(128, 2048)
    out = tuple(torch.empty_like(part) for part in operands[1:])
    scoring = {"weight": 1.0, "keep_probability": 0.5, "stream": STREAM, "scope": "kept"}

    def step():
        result, gradients = linear_masked_wmse_and_gradients(*operands, x, uid, **scoring, out=out)
        return result.loss, gradients.by_h, gradients.by_matrix.clone()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    x.copy_(x.flip(0))
    uid.add_(5)
    graph.replay()
    for found, expected in zip(captured, step(), strict=True):
        assert torch.equal(found, expected)
