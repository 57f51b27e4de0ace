"""Philox4x32-10 in plain PyTorch: the truth that every fast path is held to.

Counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), tested against the authors' known answers. Words of 32 bits are held in int64:
the product of two words wraps modulo 2**64, and both of its halves are still right.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_ROUNDS = 10

VALUES_PER_CALL = 8
# Counter word 0 of a layer's draw; the calls of values stay below it.
LAYER_COUNTER = 2**31
MAX_FEATURES = LAYER_COUNTER * VALUES_PER_CALL

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Ten rounds of Philox4x32.

    Args:
        counter: Four tensors that broadcast to one shape, int64, each value 0 to 2**32 - 1.
        key: Two words, 0 to 2**32 - 1.

    Returns:
        Four tensors of random words of the common shape, int64, each 0 to 2**32 - 1.

    Example:
        >>> zero = torch.zeros(1, dtype=torch.int64)
        >>> [hex(int(word)) for word in philox4x32((zero, zero, zero, zero), (0, 0))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)  # type: ignore[no-untyped-call]
    k0, k1 = key
    for _ in range(_ROUNDS):
        low_product, high_product = c0 * _MULTIPLIER[0], c2 * _MULTIPLIER[1]
        c0 = (high_product >> 32 & _WORD) ^ c1 ^ k0
        c1 = high_product & _WORD
        c2 = (low_product >> 32 & _WORD) ^ c3 ^ k1
        c3 = low_product & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def value_draws(
    sample_uid: Tensor, num_features: int, *, seed: int, epoch: int, first_feature: int
) -> Tensor:
    """16-bit draws of the values of each sample; a value is kept below its threshold.

    Args:
        sample_uid: Identity of each sample, ``(sample,)``, int64, any value.
        num_features: Number of neighbouring features.
        seed: Key of the stream.
        epoch: Epoch of the stream.
        first_feature: Index of the first of these features among all features.

    Returns:
        Draws, ``(sample, feature)``, int64, each 0 to 65535.
    """
    first_call, skipped = divmod(first_feature, VALUES_PER_CALL)
    num_calls = -(-(skipped + num_features) // VALUES_PER_CALL)
    call = first_call + torch.arange(num_calls, device=sample_uid.device)
    words = torch.stack(_words(sample_uid, call, seed, epoch), dim=-1)  # (sample, call, word)
    lanes = torch.stack((words & 0xFFFF, words >> 16), dim=-1)  # (sample, call, word, half)
    return lanes.flatten(1)[:, skipped : skipped + num_features]


def layer_draws(sample_uid: Tensor, num_layers: int, *, seed: int, epoch: int) -> Tensor:
    """32-bit draws of the layers of each sample.

    Args:
        sample_uid: Identity of each sample, ``(sample,)``, int64, any value.
        num_layers: Number of layers.
        seed: Key of the stream.
        epoch: Epoch of the stream.

    Returns:
        Draws, ``(sample, layer)``, int64, each 0 to 2**32 - 1.
    """
    call = LAYER_COUNTER + torch.arange(num_layers, device=sample_uid.device)
    return _words(sample_uid, call, seed, epoch)[0]


def _words(sample_uid: Tensor, call: Tensor, seed: int, epoch: int) -> Words:
    uid = sample_uid[:, None]
    counter = (call, torch.full_like(call, epoch), uid & _WORD, uid >> 32 & _WORD)
    return philox4x32(counter, (seed & _WORD, seed >> 32))
