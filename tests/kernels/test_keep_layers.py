"""The mask on whole layers: definition, rescue rule, paths, bad input."""

import pytest
import torch

from immo_kernels import MaskStream, keep_layers

STREAM = MaskStream(seed=11, epoch=4)
SHAPES = [(0, 3), (3, 0), (1, 1), (5, 1), (17, 2), (64, 3), (129, 7)]


def table(num_samples, num_layers, share=0.7):
    generator = torch.Generator().manual_seed(num_samples * 31 + num_layers)
    measured = torch.rand(num_samples, num_layers, generator=generator) < share
    uid = torch.randint(-(2**62), 2**62, (num_samples,), generator=generator)
    return measured, uid


@pytest.mark.parametrize("path", ["cpu", "reference"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("probability", [0.0, 0.3, 0.7, 1.0])
def test_definition_with_rescue(oracle, monkeypatch, path, shape, probability):
    monkeypatch.setenv("IMMO_KERNELS", path)
    measured, uid = table(*shape)
    shown = keep_layers(measured, uid, keep_probability=probability, stream=STREAM)
    expected = []
    for row in range(shape[0]):
        draws = [
            oracle.draw(STREAM.seed, STREAM.epoch, int(uid[row]), 2**31 + layer)[0]
            if measured[row, layer]
            else None
            for layer in range(shape[1])
        ]
        kept = [draw is not None and draw < round(probability * 2**32) for draw in draws]
        there = [draw for draw in draws if draw is not None]
        if there and not any(kept):
            kept[draws.index(max(there))] = True
        expected.append(kept)
    torch.testing.assert_close(
        shown, torch.tensor(expected, dtype=torch.bool).reshape(shape), msg="layer decisions"
    )


@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_every_sample_with_a_layer_shows_one_and_only_measured_ones(monkeypatch, path):
    monkeypatch.setenv("IMMO_KERNELS", path)
    measured, uid = table(300, 4)
    for probability in (0.0, 0.1, 0.5, 1.0):
        shown = keep_layers(measured, uid, keep_probability=probability, stream=STREAM)
        assert not (shown & ~measured).any()
        assert torch.equal(shown.any(dim=1), measured.any(dim=1))
        if probability == 0:
            assert int(shown.sum(dim=1).max()) == 1
    assert torch.equal(keep_layers(measured, uid, keep_probability=1.0, stream=STREAM), measured)


def test_decisions_follow_the_sample_through_permutation_splitting_and_strides():
    measured, uid = table(50, 3)
    shown = keep_layers(measured, uid, keep_probability=0.5, stream=STREAM)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    moved = keep_layers(measured[order], uid[order], keep_probability=0.5, stream=STREAM)
    assert torch.equal(moved, shown[order])
    head = keep_layers(measured[:13], uid[:13], keep_probability=0.5, stream=STREAM)
    assert torch.equal(head, shown[:13])
    strided = keep_layers(
        measured.T.contiguous().T,
        uid.repeat_interleave(2)[::2],
        keep_probability=0.5,
        stream=STREAM,
    )
    assert torch.equal(strided, shown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measured": torch.ones(4, 2)}, r"measured must be a torch.bool .* got shape \(4, 2\)"),
        ({"measured": torch.ones(4, dtype=torch.bool)}, r"measured must be .* got shape \(4,\)"),
        ({"sample_uid": torch.arange(3)}, r"sample_uid must be \(4,\), .* got shape \(3,\)"),
        ({"sample_uid": torch.zeros(4)}, r"sample_uid must be .* torch.float32"),
        ({"keep_probability": 1.1}, r"keep_probability must be within \[0, 1\], got 1.1"),
        ({"keep_probability": -0.1}, r"keep_probability must be finite and >= 0, got -0.1"),
        ({"keep_probability": float("nan")}, r"keep_probability must be finite"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "measured": torch.ones(4, 2, dtype=torch.bool),
        "sample_uid": torch.arange(4),
        "keep_probability": 0.5,
        "stream": STREAM,
    } | change
    with pytest.raises(ValueError, match=message):
        keep_layers(arguments.pop("measured"), arguments.pop("sample_uid"), **arguments)


def test_opcheck():
    measured, uid = table(5, 3)
    torch.library.opcheck(torch.ops.immo_kernels.keep_layers.default, (measured, uid, 2**31, 1, 2))
