"""Philox4x32-10 for the CPU path, compiled by numba.

All words live in the low halves of uint64, so that LLVM turns the loop over calls into SIMD
with one widening multiply a product. The four words of a call are stored side by side;
read as uint16 on a little-endian machine they are the eight draws in order of feature.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Features whose draws are made at once: 2 KiB of draws stay in the first-level cache.
BLOCK = 1024
# A block that does not start at a call's first lane needs one more call of four words.
WORDS = 4 * (BLOCK // 8 + 1)

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(inline="always")
def philox4x32(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Ten rounds; counter and key words in uint64, four words in uint64 back."""
    for _ in range(10):
        low_product = c0 * _M0
        high_product = c2 * _M1
        c0 = (high_product >> _HALF) ^ c1 ^ k0
        c2 = (low_product >> _HALF) ^ c3 ^ k1
        c1 = high_product & _WORD
        c3 = low_product & _WORD
        k0 = (k0 + _W0) & _WORD
        k1 = (k1 + _W1) & _WORD
    return c0, c1, c2, c3


@njit
def draw_values(
    words: NDArray[np.uint32],
    first_feature: int,
    num_features: int,
    uid: int,
    seed: int,
    epoch: int,
) -> int:
    """Draw 1 to `BLOCK` values of one sample into ``words``, ``(WORDS,)``.

    Returns:
        Place of the first feature's draw in ``words.view(uint16)``.
    """
    sample, key = np.uint64(uid), np.uint64(seed)
    first_call = first_feature >> 3
    last_call = (first_feature + num_features - 1) >> 3
    for i in range(last_call - first_call + 1):
        w0, w1, w2, w3 = philox4x32(
            np.uint64(first_call + i),
            np.uint64(epoch),
            sample & _WORD,
            sample >> _HALF,
            key & _WORD,
            key >> _HALF,
        )
        words[4 * i] = np.uint32(w0)
        words[4 * i + 1] = np.uint32(w1)
        words[4 * i + 2] = np.uint32(w2)
        words[4 * i + 3] = np.uint32(w3)
    return first_feature & 7
