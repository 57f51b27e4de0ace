"""Checks of a cohort's content; each failure names the file, the place and what to do.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.cohort import Layer
from immo_hpc.errors import CohortError

_NAMED = 5
_NO_NEGATIVES = ("composition", "counts", "intensity", "binary")


def examples(names: Iterable[object], most: int = _NAMED) -> str:
    """The first few names in quotes, and how many more there are.

    Example:
        >>> examples(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    listed = [f"'{name}'" for name in names]
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def choices(wanted: str, available: Sequence[str], most: int = 40) -> str:
    """What there is instead of ``wanted``, the nearest name first.

    Example:
        >>> choices("subject", ["subject_id", "age"])
        "did you mean 'subject_id'? there are: subject_id, age"
    """
    near = difflib.get_close_matches(wanted, available, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    listed = ", ".join(available[:most]) + (", ..." if len(available) > most else "")
    return f"{hint}there are: {listed or 'none'}"


def require_unique(names: Sequence[str], where: str, what: str, remedy: str) -> None:
    """Refuse names that come twice.

    Args:
        names: Names in the order of the file.
        where: File or table, for the message.
        what: What is named, such as ``sample_id``.
        remedy: What the user can do about it.

    Raises:
        CohortError: Naming the first double and the places where it stands.
    """
    if len(set(names)) == len(names):
        return
    index = pd.Index(names)
    doubled = index[index.duplicated()].unique()
    places = ", ".join(str(place + 1) for place in np.flatnonzero(index == doubled[0])[:_NAMED])
    others = f" ({len(doubled) - 1} other names as well)" if len(doubled) > 1 else ""
    message = (
        f"{where}: expected each {what} once, found '{doubled[0]}' at {places} "
        f"(counted from 1, without the header){others}. {remedy}"
    )
    raise CohortError(message)


def check_values(layer: Layer, sample_ids: Sequence[str]) -> None:
    """Refuse values that a layer of its kind cannot hold.

    Args:
        layer: The layer; its values are looked at as they are.
        sample_ids: Names of its rows, ``(row,)``.

    Raises:
        CohortError: For an infinite value, a negative value in a composition, counts or
            intensities, or a value other than 0 and 1 in a binary layer.
    """
    rules = [
        _Rule(
            np.isinf,
            f"a number within {np.finfo(np.float32).max:.2g} either way",
            "Leave the cell empty if the value is missing, or put the right number there",
        )
    ]
    if layer.kind in _NO_NEGATIVES:
        rules.append(
            _Rule(
                lambda values: values < 0,
                f"no negative value in a layer of kind '{layer.kind}'",
                "Correct the value, or, if the table is logged or centred already, give the layer "
                "'kind: continuous' in cohort.yaml",
            )
        )
    if layer.kind == "binary":
        rules.append(
            _Rule(
                lambda values: ~((values == 0) | (values == 1) | np.isnan(values)),
                "0 or 1 in a layer of kind 'binary'",
                "Correct the value, or give the layer another kind in cohort.yaml",
            )
        )
    _refuse(layer, sample_ids, rules)


@dataclass(frozen=True)
class _Rule:
    """Which values are refused, what is expected of them, and the remedy."""

    refuses: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    expected: str
    remedy: str


def _refuse(layer: Layer, sample_ids: Sequence[str], rules: Sequence[_Rule]) -> None:
    counts = [0] * len(rules)
    first: dict[int, tuple[int, int, float]] = {}
    for places, block in row_blocks(layer.values):
        for number, rule in enumerate(rules):
            bad = rule.refuses(block)
            found = int(np.count_nonzero(bad))
            if found and number not in first:
                row, column = divmod(int(bad.argmax()), bad.shape[1])
                first[number] = (int(places[row]), column, float(block[row, column]))
            counts[number] += found
    if not first:
        return
    number = min(first)
    rule, (row, column, value) = rules[number], first[number]
    where = str(layer.source) if layer.source else f"layer '{layer.name}'"
    more = f", and {counts[number] - 1} more such values" if counts[number] > 1 else ""
    message = (
        f"{where}, sample '{sample_ids[row]}', column '{layer.features[column]}': found "
        f"{value:g}{more}; expected {rule.expected}. {rule.remedy}."
    )
    raise CohortError(message)
