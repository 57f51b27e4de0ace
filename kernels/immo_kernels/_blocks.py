"""Feature blocks: how a tensor too large to exist is worked on a part of its columns at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Bytes of a block (docs/notes/kernel-speed.md): on a CPU it stays in the cache between the
# product that makes it and those that use it; on a GPU it outweighs the launches of its kernels.
_BLOCK_BYTES = {"cpu": 4 << 20}
_OTHER_BLOCK_BYTES = 512 << 20
# Blocks begin at multiples of this within a layer, so a call of Philox is not split and rows of
# a block stay aligned in memory; also the least width, below which products are not worth a call.
_STEP = 256


class FeatureBlock(NamedTuple):
    """Neighbouring columns of one layer.

    Attributes:
        layer: The layer's number.
        low: First column.
        high: Column after the last.
    """

    layer: int
    low: int
    high: int


def block_width(num_rows: int, device_type: str, value_bytes: int = 4) -> int:
    """Columns of a block: a multiple of 256, of as many rows as there are.

    Example:
        >>> block_width(1024, "cpu"), block_width(1_000_000, "cpu")
        (1024, 256)
    """
    num_bytes = _BLOCK_BYTES.get(device_type, _OTHER_BLOCK_BYTES)
    return max(num_bytes // (max(num_rows, 1) * value_bytes) // _STEP, 1) * _STEP


def feature_blocks(segments: Sequence[int], width: int) -> Iterator[FeatureBlock]:
    """Blocks of at most ``width`` columns; none crosses a bound of ``segments``.

    Example:
        >>> [tuple(block) for block in feature_blocks([0, 3, 3, 8], 4)]
        [(0, 0, 3), (2, 3, 7), (2, 7, 8)]
    """
    for layer, (low, high) in enumerate(itertools.pairwise(segments)):
        for start in range(low, high, width):
            yield FeatureBlock(layer, start, min(start + width, high))
