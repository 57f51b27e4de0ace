"""The generator against published answers, and the stream against its definition."""

import pytest
import torch

from immo_kernels import MASK_STREAM_VERSION, MaskStream, keep_layers, keep_values, masked_wmse
from immo_kernels.philox import layer_draws, philox4x32, value_draws

# Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip
UIDS = [0, 1, -1, 2**63 - 1, -(2**63), 123456789012345678]
STREAMS = [MaskStream(0, 0), MaskStream(2**63 - 1, 2**32 - 1), MaskStream(0x123456789ABCDEF, 77)]


def words(text):
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_reference_gives_the_published_answers(counter, key, result):
    tensors = tuple(torch.tensor([word]) for word in words(counter))
    assert tuple(int(word) for word in philox4x32(tensors, words(key))) == words(result)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_compiled_generator_gives_the_published_answers(counter, key, result):
    import numba
    import numpy as np

    from immo_kernels._philox_cpu import philox4x32 as generator

    @numba.njit
    def run(c0, c1, c2, c3, k0, k1):
        return generator(c0, c1, c2, c3, k0, k1)

    given = (np.uint64(word) for word in (*words(counter), *words(key)))
    assert tuple(int(word) for word in run(*given)) == words(result)


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_oracle_gives_the_published_answers(oracle, counter, key, result):
    assert oracle.philox(words(counter), words(key)) == words(result)


def test_stream_version_is_the_one_these_tests_describe():
    assert MASK_STREAM_VERSION == 1


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("first_feature", [0, 5, 8, 2**34 - 19])
def test_value_draws_follow_the_definition(oracle, stream, first_feature):
    draws = value_draws(
        torch.tensor(UIDS), 19, seed=stream.seed, epoch=stream.epoch, first_feature=first_feature
    )
    for row, uid in enumerate(UIDS):
        for column in range(19):
            call, lane = divmod(first_feature + column, 8)
            word = oracle.draw(stream.seed, stream.epoch, uid, call)[lane // 2]
            assert int(draws[row, column]) == (word >> 16 if lane % 2 else word & 0xFFFF)


@pytest.mark.parametrize("stream", STREAMS)
def test_layer_draws_follow_the_definition(oracle, stream):
    draws = layer_draws(torch.tensor(UIDS), 3, seed=stream.seed, epoch=stream.epoch)
    for row, uid in enumerate(UIDS):
        for layer in range(3):
            expected = oracle.draw(stream.seed, stream.epoch, uid, 2**31 + layer)[0]
            assert int(draws[row, layer]) == expected


@pytest.mark.parametrize("path", ["reference", "cpu"])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("first_feature", [0, 3, 2**34 - 1029])
def test_keep_decisions_follow_the_definition(oracle, monkeypatch, path, stream, first_feature):
    if path == "reference":
        monkeypatch.setenv("IMMO_KERNELS", "reference")
    kept = keep_values(
        torch.tensor(UIDS),
        1029,
        keep_probability=0.6180339,
        stream=stream,
        first_feature=first_feature,
    )
    for row, uid in enumerate(UIDS):
        for column in [*range(20), 1022, 1023, 1024, 1028]:
            expected = oracle.value_kept(
                stream.seed, stream.epoch, uid, first_feature + column, 0.6180339
            )
            assert bool(kept[row, column]) is expected


@pytest.mark.parametrize("path", ["reference", "cpu"])
@pytest.mark.parametrize("feature", range(8))
def test_a_draw_at_the_threshold_is_dropped_and_one_below_is_kept(
    oracle, monkeypatch, path, feature
):
    monkeypatch.setenv("IMMO_KERNELS", path)
    word = oracle.draw(5, 6, 7, 0)[feature // 2]
    draw = word >> 16 if feature % 2 else word & 0xFFFF
    zero = torch.zeros(1, 1)
    for step, kept in ((0, False), (1, True)):
        arguments = {
            "keep_probability": (draw + step) / 65536,
            "stream": MaskStream(5, 6),
            "first_feature": feature,
        }
        uid = torch.tensor([7])
        assert keep_values(uid, 1, **arguments).item() is kept
        for scope, scored in (("kept", kept), ("dropped", not kept)):
            loss = masked_wmse(zero, zero, uid, weight=1.0, scope=scope, **arguments)
            assert loss.layer_count.tolist() == [int(scored)]


@pytest.mark.parametrize("path", ["reference", "cpu"])
def test_a_layer_draw_at_the_threshold_is_dropped_and_one_below_is_kept(oracle, monkeypatch, path):
    monkeypatch.setenv("IMMO_KERNELS", path)
    draws = [oracle.draw(5, 6, 7, 2**31 + layer)[0] for layer in range(2)]
    lower = draws.index(min(draws))
    both = torch.ones(1, 2, dtype=torch.bool)
    # Below the lower draw nothing is kept, and the layer with the larger draw is rescued.
    for step, kept in ((0, False), (1, True)):
        probability = (min(draws) + step) / 2**32
        shown = keep_layers(
            both, torch.tensor([7]), keep_probability=probability, stream=MaskStream(5, 6)
        )
        assert shown[0, lower].item() is kept
        assert shown[0, 1 - lower].item() is not kept


@pytest.mark.parametrize(
    ("seed", "epoch", "message"),
    [
        (-1, 0, r"seed must be an integer from 0 to 2\*\*63 - 1, got -1"),
        (2**63, 0, r"seed must be an integer from 0 to 2\*\*63 - 1, got 9223372036854775808"),
        (0, -1, r"epoch must be an integer from 0 to 2\*\*32 - 1, got -1"),
        (0, 2**32, r"epoch must be an integer from 0 to 2\*\*32 - 1, got 4294967296"),
    ],
)
def test_stream_out_of_range_is_refused(seed, epoch, message):
    with pytest.raises(ValueError, match=message):
        MaskStream(seed, epoch)
