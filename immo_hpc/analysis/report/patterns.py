"""Counting which layers were measured together, and for whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.report.content import ReportContent

_MOST_CLASSES = 6


@dataclass(frozen=True)
class Patterns:
    """Missing patterns, most frequent first.

    Attributes:
        has: True where a pattern has a layer, ``(pattern, layer)``, bool.
        samples: Samples of each pattern, ``(pattern,)``, int64.
        people: People with a sample of the pattern, ``(pattern,)``; None if nobody is named.
        classes: Labels, most frequent first; the last may stand for all the rare ones.
        labels: Labelled samples, ``(pattern, class)``, int64.
    """

    has: NDArray[np.bool_]
    samples: NDArray[np.int64]
    people: NDArray[np.int64] | None
    classes: tuple[str, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.samples)

    def first(self, count: int) -> Patterns:
        """The ``count`` most frequent patterns."""
        people = None if self.people is None else self.people[:count]
        return Patterns(
            self.has[:count], self.samples[:count], people, self.classes, self.labels[:count]
        )


def find_patterns(content: ReportContent) -> Patterns:
    """Count the missing patterns of a cohort.

    Args:
        content: Its ``measured`` table, labels and subjects are read.

    Returns:
        Patterns by falling number of samples; equally frequent ones with more layers first.
    """
    has, pattern = np.unique(content.measured, axis=0, return_inverse=True)
    pattern = pattern.reshape(-1)
    samples = np.bincount(pattern, minlength=len(has)).astype(np.int64)
    order = np.lexsort((*(~has).T[::-1], -has.sum(axis=1), -samples))
    people = None
    if content.subjects is not None:
        groups = content.subjects.reset_index(drop=True).groupby(pattern)
        people = groups.nunique().reindex(range(len(has)), fill_value=0).to_numpy()[order]
    classes, codes = label_codes(content.labels)
    labels = np.zeros((len(has), len(classes)), dtype=np.int64)
    if codes is not None:
        known = codes >= 0
        np.add.at(labels, (pattern[known], codes[known]), 1)
    return Patterns(has[order], samples[order], people, classes, labels[order])


def label_codes(labels: pd.Series | None) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Classes by falling frequency, and the class of each sample (-1 = no label).

    Beyond six classes the rare ones become one, so that each keeps a colour of its own.
    """
    if labels is None:
        return (), None
    counts = labels.value_counts().rename_axis("label").reset_index(name="count")
    names = list(counts.sort_values(["count", "label"], ascending=[False, True])["label"])
    place = {name: min(index, _MOST_CLASSES - 1) for index, name in enumerate(names)}
    if len(names) > _MOST_CLASSES:
        rest = len(names) - _MOST_CLASSES + 1
        names = [*names[: _MOST_CLASSES - 1], f"{rest} other labels"]
    codes = np.array([-1 if label is None else place[label] for label in labels], dtype=np.int64)
    return tuple(names), codes


def measured_share_by_label(content: ReportContent, fewest: int = 1) -> pd.DataFrame:
    """Share of the samples of each label that have each layer, index label, columns layers.

    Labels with less than ``fewest`` samples are left out.
    """
    labels = content.labels
    if labels is None:
        return pd.DataFrame(columns=list(content.layers), dtype=float)
    table = pd.DataFrame(
        content.measured, columns=list(content.layers), index=content.samples.index
    )
    known = labels.notna().to_numpy()
    groups = table[known].groupby(labels[known].to_numpy())
    return groups.mean()[groups.size() >= fewest]
