"""The mask stream: which seed and epoch a mask is drawn for (DESIGN contract 4)."""

from __future__ import annotations

from dataclasses import dataclass

# Raised whenever any decision drawn from the same arguments would come out different.
MASK_STREAM_VERSION = 1


@dataclass(frozen=True)
class MaskStream:
    """Place in the mask stream.

    Attributes:
        seed: Key of the stream, 0 to 2**63 - 1.
        epoch: Epoch the masks are drawn for, 0 to 2**32 - 1.

    Raises:
        ValueError: If seed or epoch is out of range.

    Example:
        >>> MaskStream(seed=1, epoch=-1)
        Traceback (most recent call last):
            ...
        ValueError: MaskStream: epoch must be an integer from 0 to 2**32 - 1, got -1.
    """

    seed: int
    epoch: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            message = f"MaskStream: seed must be an integer from 0 to 2**63 - 1, got {self.seed}."
            raise ValueError(message)
        if not 0 <= self.epoch < 2**32:
            message = f"MaskStream: epoch must be an integer from 0 to 2**32 - 1, got {self.epoch}."
            raise ValueError(message)
