"""The dynamic mask: paths agree, values and gradients follow Eqs. 2 and 3, bad input is named."""

import pytest
import torch

from immo_kernels import MaskStream, dynamic_mask, keep_values

STREAM = MaskStream(seed=3, epoch=8)
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
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def problem(shape, segments, dtype=torch.float32, missing=0.3):
    generator = torch.Generator().manual_seed(shape[0] * 1009 + shape[1])
    x = torch.randn(shape, generator=generator).to(dtype)
    x[torch.rand(shape, generator=generator) < missing] = torch.nan
    uid = torch.randint(-(2**63), 2**63 - 1, (shape[0],), generator=generator)
    shown = torch.rand(shape[0], len(segments) - 1, generator=generator) < 0.7
    probability = [0.25 + 0.5 * layer / len(segments) for layer in range(len(segments) - 1)]
    return x, {
        "sample_uid": uid,
        "keep_probability": probability,
        "stream": STREAM,
        "segments": segments,
        "first_feature": 13,
        "shown": shown,
    }


def expected_mask(oracle, x, arguments):
    visible = torch.zeros(x.shape, dtype=torch.bool)
    segments = arguments["segments"]
    for row in range(x.shape[0]):
        for layer, probability in enumerate(arguments["keep_probability"]):
            for column in range(segments[layer], segments[layer + 1]):
                visible[row, column] = bool(
                    arguments["shown"][row, layer]
                    and not x[row, column].isnan()
                    and oracle.value_kept(
                        STREAM.seed,
                        STREAM.epoch,
                        int(arguments["sample_uid"][row]),
                        13 + column,
                        probability,
                    )
                )
    return visible


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "segments"), SHAPES)
def test_values_follow_the_definition(oracle, shape, segments, dtype):
    x, arguments = problem(shape, segments, dtype)
    masked = dynamic_mask(x, **arguments)
    expected = torch.zeros_like(x)
    visible = expected_mask(oracle, x, arguments)
    expected[visible] = x[visible]
    assert masked.dtype == dtype
    torch.testing.assert_close(masked, expected, rtol=0, atol=0, msg="masked values")


@pytest.mark.parametrize(("shape", "segments"), SHAPES)
@pytest.mark.parametrize("shift", [0, 1, 7, 8])
def test_cpu_path_is_the_reference_bit_for_bit(monkeypatch, shape, segments, shift):
    x, arguments = problem(shape, segments)
    arguments["first_feature"] = shift
    monkeypatch.setenv("IMMO_KERNELS", "cpu")
    compiled = dynamic_mask(x, **arguments)
    monkeypatch.setenv("IMMO_KERNELS", "reference")
    assert torch.equal(compiled, dynamic_mask(x, **arguments))


@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_probability_zero_and_one(monkeypatch, path):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x, arguments = problem((6, 100), [0, 40, 100])
    arguments |= {"keep_probability": [0, 1], "shown": None}
    masked = dynamic_mask(x, **arguments)
    assert torch.equal(masked[:, :40], torch.zeros(6, 40))
    assert torch.equal(masked[:, 40:], x[:, 40:].nan_to_num(0.0))


@pytest.mark.parametrize("path", ["cpu", "reference"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_hidden_values_change_nothing(monkeypatch, path, poison):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x, arguments = problem((9, 300), [0, 100, 300], missing=0.0)
    masked = dynamic_mask(x, **arguments)
    poisoned = torch.where(masked == 0, poison, x)
    assert torch.equal(dynamic_mask(poisoned, **arguments), masked)


def test_masks_go_with_the_sample():
    x, arguments = problem((31, 203), [0, 100, 203])
    masked = dynamic_mask(x, **arguments)

    def of(index):
        moved = arguments | {
            "sample_uid": arguments["sample_uid"][index],
            "shown": arguments["shown"][index],
        }
        return dynamic_mask(x[index], **moved)

    order = torch.randperm(31, generator=torch.Generator().manual_seed(1))
    assert torch.equal(of(order), masked[order])
    assert torch.equal(torch.cat([of(slice(0, 10)), of(slice(10, 31))]), masked)


def test_a_layer_alone_has_the_mask_it_has_among_all():
    x, arguments = problem((12, 203), [0, 101, 203])
    arguments["shown"] = None
    masked = dynamic_mask(x, **arguments)
    alone = dynamic_mask(
        x[:, 101:],
        arguments["sample_uid"],
        keep_probability=arguments["keep_probability"][1],
        stream=STREAM,
        first_feature=13 + 101,
    )
    assert torch.equal(alone, masked[:, 101:])


def test_keep_values_are_the_decisions_of_the_mask():
    x, arguments = problem((12, 203), [0, 101, 203], missing=0.0)
    del arguments["shown"]
    kept = keep_values(arguments.pop("sample_uid"), 203, **arguments)
    _, again = problem((12, 203), [0, 101, 203])
    again["shown"] = None
    assert torch.equal(dynamic_mask(x, **again) != 0, kept)


@pytest.mark.parametrize(
    "strided",
    [
        lambda x: x.T.contiguous().T,
        lambda x: torch.cat([x, x], dim=1)[:, : x.shape[1]],
        lambda x: x.repeat_interleave(2, dim=0)[::2],
        lambda x: x.repeat_interleave(3, dim=1)[:, ::3],
    ],
    ids=["transposed", "columns", "rows", "steps"],
)
def test_any_strides(strided):
    x, arguments = problem((12, 203), [0, 101, 203])
    view = strided(x)
    assert not view.is_contiguous()
    arguments["sample_uid"] = arguments["sample_uid"].repeat_interleave(2)
    uid = arguments.pop("sample_uid")[::2]
    arguments["shown"] = arguments["shown"].T.contiguous().T
    masked = dynamic_mask(view, uid, **arguments)
    assert masked.is_contiguous()
    assert torch.equal(masked, dynamic_mask(x, uid.clone(), **arguments))


def test_one_row_for_all_samples():
    x = torch.randn(1, 50).expand(8, 50)
    uid = torch.arange(8)
    masked = dynamic_mask(x, uid, keep_probability=0.5, stream=STREAM)
    clone = dynamic_mask(x.clone(), uid, keep_probability=0.5, stream=STREAM)
    assert torch.equal(masked, clone)


def test_one_and_two_threads_are_bit_equal(two_threads):
    x, arguments = problem((67, 1025), [0, 300, 1025])
    parallel = [dynamic_mask(x, **arguments) for _ in range(2)]
    two_threads()
    serial = dynamic_mask(x, **arguments)
    assert torch.equal(parallel[0], serial)
    assert torch.equal(parallel[1], serial)


@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_gradient_is_the_upstream_where_a_value_is_visible(oracle, monkeypatch, path):
    monkeypatch.setenv("IMMO_KERNELS", path)
    x, arguments = problem((5, 33), [0, 20, 33])
    x.requires_grad_()
    upstream = torch.randn(5, 33)
    (gradient,) = torch.autograd.grad(dynamic_mask(x, **arguments), x, upstream)
    expected = torch.where(expected_mask(oracle, x.detach(), arguments), upstream, 0.0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0, msg="gradient of x")


def test_gradcheck():
    x, arguments = problem((3, 11), [0, 4, 11], torch.float64, missing=0.0)
    uid = arguments.pop("sample_uid")
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dynamic_mask(x, uid, **arguments), x)
    assert torch.autograd.gradgradcheck(lambda x: dynamic_mask(x, uid, **arguments), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_opcheck(dtype, requires_grad):
    x, arguments = problem((4, 10), [0, 6, 10], dtype)
    x.requires_grad_(requires_grad)
    torch.library.opcheck(
        torch.ops.immo_kernels.dynamic_mask.default,
        (x, arguments["sample_uid"], [20000, 65536], 5, 6, [0, 6, 10], 3, arguments["shown"]),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(4)}, r"x must be a floating .* got shape \(4,\), torch.float32"),
        ({"x": torch.zeros(4, 6, dtype=torch.int64)}, r"x must be a floating .* torch.int64"),
        ({"sample_uid": torch.arange(5)}, r"sample_uid must be \(4,\), .* got shape \(5,\)"),
        ({"sample_uid": torch.zeros(4, dtype=torch.int32)}, "sample_uid must be .* torch.int32"),
        ({"sample_uid": torch.zeros(4, dtype=torch.int64, device="meta")}, "on cpu, .* on meta"),
        ({"segments": [0, 4, 2, 6]}, r"segments must rise .* 6, .* got \[0, 4, 2, 6\]"),
        ({"segments": [0, 3, 5]}, r"segments must rise .* 6, .* got \[0, 3, 5\]"),
        ({"segments": [1, 6]}, r"segments must rise .* got \[1, 6\]"),
        ({"segments": [6]}, r"segments must rise .* got \[6\]"),
        ({"keep_probability": 1.5}, r"keep_probability must be within \[0, 1\], got 1.5"),
        ({"keep_probability": [0.5, -1]}, r"keep_probability must be .* got \[0.5, -1\]"),
        ({"keep_probability": [0.5] * 3}, r"keep_probability must hold one number for each of 2"),
        ({"shown": torch.ones(4, 3, dtype=torch.bool)}, r"shown must be .* \(4, 2\), .* \(4, 3\)"),
        ({"shown": torch.ones(4, 2)}, r"shown must be .* torch.bool, .* torch.float32"),
        ({"first_feature": -1}, "got first_feature -1 with 6 features"),
        ({"first_feature": 2**34 - 5}, "features must lie in 0 to"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "x": torch.zeros(4, 6),
        "sample_uid": torch.arange(4),
        "keep_probability": 0.5,
        "stream": STREAM,
        "segments": [0, 3, 6],
    } | change
    with pytest.raises(ValueError, match="dynamic_mask: .*" + message):
        dynamic_mask(arguments.pop("x"), arguments.pop("sample_uid"), **arguments)


def test_keep_values_refuses_a_matrix_of_samples():
    with pytest.raises(
        ValueError, match=r"keep_values: sample_uid must be \(sample,\) .* \(2, 2\)"
    ):
        keep_values(torch.zeros(2, 2, dtype=torch.int64), 3, keep_probability=0.5, stream=STREAM)
