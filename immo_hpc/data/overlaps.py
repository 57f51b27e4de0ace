"""Which layers were measured together, for whom, and whether that tells the label.

Legend of shapes as in `immo_hpc.data.cohort`; ``class`` counts the label's classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Cohort
from immo_hpc.data.labels import class_names
from immo_hpc.data.summary import Overlap, Pattern, PatternTest

_ALL_SETS_UP_TO = 4
_TRIPLES_UP_TO = 5
_PERMUTATIONS = 999


def label_codes(cohort: Cohort) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes, and the code of each sample's label: ``(sample,)``, int64, -1 = unlabelled."""
    if cohort.labels is None:
        return (), np.full(len(cohort.samples), -1, dtype=np.int64)
    classes = class_names(cohort.labels, cohort.roles)
    codes = pd.Index(classes, dtype=object).get_indexer(cohort.labels.astype(object))
    return classes, codes.astype(np.int64)


def overlaps(cohort: Cohort) -> tuple[Overlap, ...]:
    """Samples that have all, and that have any, of each set of two or more layers.

    All sets for up to four layers, in the order of the paper's Table 1 (the whole set, the
    pairs, ... by 'all', then the same by 'any'). Beyond that the whole set, the pairs, and
    for five layers the triples.
    """
    names = list(cohort.layers)
    measured = cohort.measured()
    classes, codes = label_codes(cohort)
    found = []
    for mode in ("all", "any"):
        for places in _sets(len(names), whole_first=mode == "all"):
            columns = measured[:, places]
            held = columns.all(axis=1) if mode == "all" else columns.any(axis=1)
            chosen = tuple(names[place] for place in places)
            sign = " & " if mode == "all" else " | "
            counts = class_counts(codes[held], classes)
            found.append(Overlap(sign.join(chosen), chosen, mode, int(held.sum()), counts))
    return tuple(found)


def patterns(cohort: Cohort) -> tuple[Pattern, ...]:
    """Which sets of layers occur, the most frequent first."""
    classes, codes = label_codes(cohort)
    names = list(cohort.layers)
    kinds, kind = _pattern_codes(cohort)
    found = [
        Pattern(
            tuple(name for name, has in zip(names, kinds[number], strict=True) if has),
            int((kind == number).sum()),
            class_counts(codes[kind == number], classes),
        )
        for number in range(len(kinds))
    ]
    return tuple(sorted(found, key=lambda pattern: -pattern.samples))


def pattern_test(cohort: Cohort, *, seed: int = 0) -> PatternTest | None:
    """Test whether the missing pattern tells the label.

    Where each subject carries one label, labels are permuted among subjects, because visits
    of one person are not independent and a chi-square test would find far too much.

    Args:
        cohort: The cohort.
        seed: Seed of the permutations.

    Returns:
        The test; None if there are fewer than two patterns or two classes among the labelled
        samples.
    """
    classes, codes = label_codes(cohort)
    _, kind = _pattern_codes(cohort)
    known = codes >= 0
    kind, codes = _dense(kind[known]), _dense(codes[known])
    if len(classes) < 2 or len(codes) == 0 or kind.max() == 0 or codes.max() == 0:
        return None
    owner = _dense(pd.factorize(cohort.subjects[known])[0])
    table = _crossed(kind, codes)
    strength = _cramers_v(table)
    # Samples by subject and by pattern, and one label a subject, if that is how it is.
    labels_of = _crossed(owner, codes) > 0
    if not (labels_of.sum(axis=1) == 1).all():
        from scipy.stats import chi2_contingency  # takes a second to import

        p_value = float(chi2_contingency(table, correction=False).pvalue)
        return PatternTest(len(codes), strength, p_value, "chi-square")
    visits = _crossed(kind, owner)
    label_of = labels_of.argmax(axis=1)
    draw = np.random.default_rng(seed)
    one_hot = np.eye(int(codes.max()) + 1)
    drawn = [_cramers_v(visits @ one_hot[draw.permutation(label_of)]) for _ in range(_PERMUTATIONS)]
    as_strong = int(np.sum(np.asarray(drawn) >= strength - 1e-12))
    p_value = (1 + as_strong) / (1 + _PERMUTATIONS)
    return PatternTest(len(codes), strength, p_value, "subjects permuted")


def class_counts(codes: NDArray[np.int64], classes: Sequence[str]) -> dict[str, int]:
    """Samples by class; unlabelled ones (-1) are in no class."""
    counts = np.bincount(codes[codes >= 0], minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _sets(num_layers: int, *, whole_first: bool) -> Iterator[list[int]]:
    if num_layers <= _ALL_SETS_UP_TO:
        sizes = list(range(2, num_layers + 1))
    else:
        sizes = [2, 3] if num_layers <= _TRIPLES_UP_TO else [2]
        sizes.append(num_layers)
    if whole_first and sizes:
        sizes = [sizes[-1], *sizes[:-1]]
    for size in sizes:
        yield from (list(places) for places in combinations(range(num_layers), size))


def _pattern_codes(cohort: Cohort) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The patterns that occur, ``(pattern, layer)``, and the one of each sample."""
    kinds, kind = np.unique(cohort.measured(), axis=0, return_inverse=True)
    return kinds, kind.ravel().astype(np.int64)


def _dense(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same codes without gaps."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _crossed(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    table = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1))
    np.add.at(table, (rows, columns), 1)
    return table


def _cramers_v(table: NDArray[np.float64]) -> float:
    total = table.sum()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    chi_square = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_square / (total * (min(table.shape) - 1))))
