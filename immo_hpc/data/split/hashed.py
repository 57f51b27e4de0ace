"""Sides that follow from a unit's name alone, and so last when a cohort grows.

BLAKE2b (digest size 16, personalisation ``immo split 1``) of the UTF-8 text ``SEED UNIT``,
such as ``0 subject P17``, gives two unsigned 64-bit numbers, little endian. The unit is
on the test side if the first is below ``test_fraction`` times 2^64, else on the validation
side if the second is below ``validation_fraction`` times 2^64, else on the training side. A unit
that is not tested on is thus validated on or not whatever the test side is made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_PERSON = b"immo split 1"


def hash_sides(
    names: Iterable[str], test_fraction: float, validation_fraction: float, seed: int
) -> NDArray[np.str_]:
    """Side of each unit: 'train', 'validation' or 'test', each with its probability.

    Args:
        names: Units; one name may come many times.
        test_fraction: Probability of the test side.
        validation_fraction: Probability of the validation side if not tested on.
        seed: Seed, at least 0.

    Returns:
        Sides, one a name.

    Example:
        >>> hash_sides(["subject a", "subject b", "subject a"], 0.5, 0.5, seed=0).tolist()
        ['validation', 'test', 'validation']
    """
    # Exact: multiplying by a power of two rounds nothing.
    below = int(test_fraction * 2.0**64), int(validation_fraction * 2.0**64)
    sides: dict[str, str] = {}
    given = list(names)
    for name in given:
        if name not in sides:
            sides[name] = _side(f"{seed} {name}".encode(), *below)
    return np.array([sides[name] for name in given], dtype="<U10")


def _side(text: bytes, below_test: int, below_validation: int) -> str:
    digest = hashlib.blake2b(text, digest_size=16, person=_PERSON).digest()
    if int.from_bytes(digest[:8], "little") < below_test:
        return "test"
    if int.from_bytes(digest[8:], "little") < below_validation:
        return "validation"
    return "train"
