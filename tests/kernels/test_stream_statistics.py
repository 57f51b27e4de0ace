"""The stream is good: rates and independence, at fixed seeds.

Every test compares normal scores with LIMIT, 6 standard deviations: a good generator fails one
comparison with probability 2e-9, and 1e-7 where only 16 events are expected. There are fewer
than 3000 comparisons: the chance that other seeds raise a false alarm anywhere is below 1e-5.
"""

import math

import pytest
import torch

from immo_kernels import MaskStream, keep_layers, keep_values

LIMIT = 6.0
NUM_SAMPLES, NUM_FEATURES = 512, 2048
UID = torch.arange(NUM_SAMPLES)


def signs(uid=UID, seed=5, epoch=3, probability=0.5):
    kept = keep_values(
        uid, NUM_FEATURES, keep_probability=probability, stream=MaskStream(seed, epoch)
    )
    return kept.float() * 2 - 1


def correlation_score(a, b):
    """Sum of products of fair signs, in standard deviations."""
    return float((a * b).sum()) / math.sqrt(a.numel())


@pytest.mark.parametrize("probability", [2**-16, 0.01, 0.3, 0.5, 0.75, 0.9, 1 - 2**-16])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (1, 0), (2**40, 9)])
def test_keep_rate_is_the_probability(probability, seed, epoch):
    kept = keep_values(
        UID, NUM_FEATURES, keep_probability=probability, stream=MaskStream(seed, epoch)
    )
    rate = round(probability * 65536) / 65536
    expected, sd = kept.numel() * rate, math.sqrt(kept.numel() * rate * (1 - rate))
    assert abs(float(kept.sum()) - expected) / sd < LIMIT


def test_keep_rate_of_each_lane_feature_and_sample():
    kept = signs()
    for dim, count in ((0, NUM_SAMPLES), (1, NUM_FEATURES)):
        scores = kept.sum(dim=dim) / math.sqrt(count)
        # A second look at the same scores: their spread is that of a normal variable.
        assert float(scores.abs().max()) < LIMIT
        assert abs(float(scores.square().mean()) - 1) < LIMIT * math.sqrt(2 / scores.numel())
    lanes = kept.reshape(-1, 8).sum(dim=0) / math.sqrt(kept.numel() / 8)
    assert float(lanes.abs().max()) < LIMIT


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 6, 7, 8, 16, 64, 1024])
def test_neighbouring_features_are_independent(lag):
    kept = signs()
    assert abs(correlation_score(kept[:, lag:], kept[:, :-lag])) < LIMIT


@pytest.mark.parametrize("lag", [1, 2, 8, 256])
def test_neighbouring_samples_are_independent(lag):
    kept = signs()
    assert abs(correlation_score(kept[lag:], kept[:-lag])) < LIMIT


@pytest.mark.parametrize("bit", [0, 1, 31, 32, 63])
def test_samples_that_differ_in_one_bit_are_independent(bit):
    uid = UID * 4
    flipped = uid ^ torch.tensor(1 if bit < 63 else -(2**63)).bitwise_left_shift(bit % 63)
    assert int((flipped == uid).sum()) == 0
    assert abs(correlation_score(signs(uid=uid), signs(uid=flipped))) < LIMIT


@pytest.mark.parametrize("other", [0, 2, 4, 3 + 2**31])
def test_epochs_are_independent(other):
    assert abs(correlation_score(signs(), signs(epoch=other))) < LIMIT


@pytest.mark.parametrize("other", [0, 4, 6, 5 + 2**32, 5 + 2**62])
def test_seeds_are_independent(other):
    assert abs(correlation_score(signs(), signs(seed=other))) < LIMIT


def test_epoch_and_sample_do_not_stand_for_each_other():
    assert abs(correlation_score(signs(uid=UID, epoch=0), signs(uid=UID + 1, epoch=1))) < LIMIT


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.7])
def test_layers_are_kept_at_their_rate_and_independently(probability):
    uid = torch.arange(200_000)
    measured = torch.ones(len(uid), 4, dtype=torch.bool)
    shown = keep_layers(measured, uid, keep_probability=probability, stream=MaskStream(2, 1))
    hidden_all = (1 - probability) ** 4
    for layer in range(4):
        # Of samples with all layers hidden, one layer in four is rescued.
        rate = probability + hidden_all / 4
        sd = math.sqrt(len(uid) * rate * (1 - rate))
        assert abs(float(shown[:, layer].sum()) - len(uid) * rate) / sd < LIMIT
    # The rescue shows a layer alone, so it adds nothing to pairs.
    both = probability**2
    sd = math.sqrt(len(uid) * both * (1 - both))
    together = float((shown[:, 0] & shown[:, 1]).sum())
    assert abs(together - len(uid) * both) / sd < LIMIT
