"""Measures over repeated splits, and their paired bootstrap over subjects.

One resample draws the subjects of the whole cohort once; in every split the test subjects count
as often as they were drawn. So a resample is one other cohort, the same for all methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import Ranked, draw_subjects, interval, macro_auc, resampled_auc
from immo_hpc.analysis.results import Interval

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Draws:
    """Times each subject is drawn, ``(resample, subject)``, and each subject's column."""

    drawn: NDArray[np.float64]
    place: Mapping[str, int]

    def of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Columns of the named subjects."""
        return np.array([self.place[name] for name in names], dtype=np.int64)


@dataclass(frozen=True)
class Resampled:
    """A measure of one method.

    Attributes:
        by_split: By split the value, and the value in each resample, ``(resample,)``.
    """

    by_split: Mapping[int, tuple[float, NDArray[np.float64]]]

    @property
    def mean(self) -> float:
        """Mean over splits."""
        return _mean([value for value, _ in self.by_split.values()])

    @property
    def sd(self) -> float:
        """Standard deviation over splits; NaN for a single one."""
        values = [value for value, _ in self.by_split.values() if np.isfinite(value)]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def minus(self, other: Resampled) -> Interval:
        """The mean difference over the splits that both have."""
        shared = [split for split in self.by_split if split in other.by_split]
        pairs = [(self.by_split[split], other.by_split[split]) for split in shared]
        if not pairs:
            return Interval(float("nan"), float("nan"), float("nan"))
        value = _mean([own[0] - theirs[0] for own, theirs in pairs])
        gaps = np.array([own[1] - theirs[1] for own, theirs in pairs])
        known = np.isfinite(gaps)
        # A resample may hold no subject of some split, or of one class there.
        count = known.sum(axis=0)
        total = np.where(known, gaps, 0).sum(axis=0)
        mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        return interval(value, mean)


def subject_draws(answers: Sequence[Answer], num_resamples: int, seed: int) -> Draws:
    """Draws of all subjects named in ``answers``, within their label where they have one."""
    label: dict[str, int] = {}
    for answer in answers:
        codes = answer.get("y", [0] * len(answer["subject"]))
        label |= dict(zip(answer["subject"], codes, strict=True))
    names = sorted(label)
    stratum = np.array([label[name] for name in names], dtype=np.int64)
    drawn = draw_subjects(stratum, num_resamples, seed)
    return Draws(drawn, {name: place for place, name in enumerate(names)})


def auc_of(answers: Mapping[int, Answer], draws: Draws) -> Resampled:
    """Subject-level AUC of the answers by split (see `measure`)."""
    values = {}
    for split, answer in answers.items():
        scores = np.asarray(answer["scores"], np.float64).reshape(len(answer["y"]), -1)
        y = np.asarray(answer["y"], np.int64)
        ranked = Ranked(scores, y, draws.of(answer["subject"]))
        values[split] = (float(macro_auc(ranked)[0]), resampled_auc(ranked, draws.drawn))
    return Resampled(values)


def r2_of(answers: Mapping[int, Answer], draws: Draws) -> Resampled:
    """R² about the training mean of the answers by split (see `measure`)."""
    values = {}
    for split, answer in answers.items():
        drawn = draws.drawn[:, draws.of(answer["subject"])]
        residual, total = np.asarray(answer["residual"]), np.asarray(answer["total"])
        above, below = drawn @ residual, drawn @ total
        ratio = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
        values[split] = (float(1 - residual.sum() / max(total.sum(), 1e-12)), 1 - ratio)
    return Resampled(values)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
