"""The side of every sample of a cohort, and of samples that come to it later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.config import SplitConfig
from immo_hpc.data.cohort import Roles
from immo_hpc.data.split.deal import best_deal, require_units, units_of
from immo_hpc.data.split.hashed import hash_sides
from immo_hpc.data.split.sites import seen_at, visitors
from immo_hpc.errors import CohortError

_SIDES = ("test", "validation", "train")


def split_samples(
    samples: pd.DataFrame, roles: Roles, config: SplitConfig, seed: int
) -> NDArray[np.str_]:
    """Side of each sample: 'train', 'validation' or 'test'.

    Units are the subjects, or the samples with ``config.by == 'sample'`` and in a cohort
    without subjects; a sample whose subject is unknown is a unit of its own. The shares
    count units. With ``config.method == 'dealt'`` they are met as nearly as possible; a unit has
    the label that most of its samples have, and a label that three units have is on every
    side with a share above 0. With ``'hash'`` they are met in expectation only, labels are not
    looked at, and no unit ever moves. With ``config.test_batches`` the units seen there are the
    test side, and the others are split into training and validation.

    Args:
        samples: Sample table, index ``sample_id``.
        roles: Names of its subject, label and batch columns.
        config: Method, unit, shares and test batches.
        seed: Seed of the deal or the hash, at least 0.

    Returns:
        Sides, ``(sample,)``, the same for the same samples in any order.

    Raises:
        CohortError: If a side with a share above 0 would be empty, if there is no batch
            column to find ``config.test_batches`` in, or no sample in one of them.

    Example:
        >>> people = list("aabbccdd")
        >>> table = pd.DataFrame({"person": people}, index=[f"s{i}" for i in range(8)])
        >>> config = SplitConfig(test_fraction=0.25, validation_fraction=0)
        >>> sides = split_samples(table, Roles(subject="person"), config, seed=0)
        >>> int((sides == "test").sum()), int((sides == "train").sum())
        (2, 6)
    """
    names = _unit_names(samples, roles, config)
    if not config.test_batches:
        return _sides(samples, names, roles, config, config.test_fraction, seed)
    at_test = visitors(names, seen_at(samples, roles, config.test_batches))
    if at_test.all():
        message = (
            f"split.test_batches={list(config.test_batches)} leaves no sample to learn from: "
            "every subject was seen there. Name fewer batches."
        )
        raise CohortError(message)
    rest = np.flatnonzero(~at_test)
    sides = np.full(len(samples), "test", dtype="<U10")
    sides[rest] = _sides(samples.iloc[rest], names.iloc[rest], roles, config, 0.0, seed)
    return sides


def assign_new(
    samples: pd.DataFrame,
    roles: Roles,
    config: SplitConfig,
    seed: int,
    known: Mapping[str, str],
) -> NDArray[np.str_]:
    """Sides of samples that join a cohort which was split before.

    A subject with a known side keeps it, whatever ``config`` says. A new one is on the test
    side if it was seen at one of ``config.test_batches``; else its side follows from the hash of
    its name, whatever the method of the first split was, so that the shares hold in
    expectation and it does not matter in how many portions the samples come. With
    ``config.by == 'sample'`` every sample is new.

    Args:
        samples: Table of the new samples, index ``sample_id``.
        roles: Names of its subject and batch columns.
        config: Configuration of the first split.
        seed: Seed of the first split.
        known: Side by subject (by sample in a cohort without subjects).

    Returns:
        Sides, ``(sample,)``; sides may be empty here.

    Raises:
        CohortError: If ``config.test_batches`` are named and there is no batch column.

    Example:
        >>> table = pd.DataFrame({"person": ["a", "a", "b"]}, index=["s7", "s8", "s9"])
        >>> roles = Roles(subject="person")
        >>> assign_new(table, roles, SplitConfig(), 0, {"a": "test"}).tolist()
        ['test', 'test', 'validation']
    """
    names = _unit_names(samples, roles, config)
    at_test = np.zeros(len(samples), dtype=np.bool_)
    if config.test_batches:
        # A portion need not hold samples of every batch.
        at_test = visitors(names, seen_at(samples, roles, config.test_batches, all_there=False))
    test_fraction = 0.0 if config.test_batches else config.test_fraction
    sides = hash_sides(names, test_fraction, config.validation_fraction, seed)
    sides[at_test] = "test"
    if config.by == "sample":
        return sides
    prefix = "sample" if roles.subject is None else "subject"
    known_sides = {f"{prefix} {name}": side for name, side in known.items()}
    old = [known_sides.get(name) for name in names]
    kept = [new if side is None else side for side, new in zip(old, sides, strict=True)]
    return np.array(kept, dtype=sides.dtype)


def split_notices(samples: pd.DataFrame, roles: Roles, config: SplitConfig) -> tuple[str, ...]:
    """What a reader of the split should know, as sentences.

    Raises:
        CohortError: As for `split_samples`.
    """
    if not config.test_batches:
        return ()
    names = _unit_names(samples, roles, config)
    there = seen_at(samples, roles, config.test_batches)
    moved = visitors(names, there) & ~there
    if not moved.any():
        return ()
    return (
        f"split.test_batches: {names[moved].nunique()} of {names[there].nunique()} subjects seen "
        f"there were seen elsewhere too; their {int(moved.sum())} samples from elsewhere are on "
        "the test side as well.",
    )


def _unit_names(samples: pd.DataFrame, roles: Roles, config: SplitConfig) -> pd.Series:
    own = "sample " + pd.Series(samples.index.astype(str), index=samples.index, dtype=object)
    if config.by == "sample" or roles.subject is None:
        return own
    # The prefix keeps a sample without subject apart from a subject of that name.
    subjects = samples[roles.subject]
    return ("subject " + subjects.astype(str)).where(subjects.notna(), own)


def _sides(
    samples: pd.DataFrame,
    names: pd.Series,
    roles: Roles,
    config: SplitConfig,
    test_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    share = np.array([test_fraction, (1 - test_fraction) * config.validation_fraction, 0.0])
    share[2] = 1 - share.sum()
    labels = None if roles.label is None else samples[roles.label]
    num_sides = int(np.count_nonzero(share))
    units = units_of(names, labels, num_sides)
    by_subject = config.by == "subject" and roles.subject is not None
    remedy = "set split.test_fraction=0 or split.validation_fraction=0"
    if by_subject:
        remedy += ", or split.by=sample, knowing that scores are then inflated"
    require_units(units, num_sides, "subject" if by_subject else "sample", remedy)
    if config.method == "dealt":
        return np.array(_SIDES)[best_deal(units, share, seed)]
    sides = hash_sides(names, test_fraction, config.validation_fraction, seed)
    _require_sides(sides, share, len(units.size))
    return sides


def _require_sides(sides: NDArray[np.str_], share: NDArray[np.float64], num_units: int) -> None:
    empty = [
        side for side, part in zip(_SIDES, share, strict=True) if part and side not in set(sides)
    ]
    if empty:
        message = (
            f"split.method=hash put none of {num_units} subjects or samples on the side "
            f"'{empty[0]}': it meets the shares in expectation only. Choose another seed, or "
            "split.method=dealt."
        )
        raise CohortError(message)
