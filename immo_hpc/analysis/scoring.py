"""Scoring chosen methods once on the test subjects, all on the same resamples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import (
    Ranked,
    by_subject,
    draw_subjects,
    interval,
    macro_auc,
    resampled_auc,
    resampled_roc,
    roc,
)
from immo_hpc.analysis.labels import LabelledSamples, main_label
from immo_hpc.analysis.methods import Method, Places
from immo_hpc.analysis.results import Interval, MethodScore, RocCurve

_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class HeldOut:
    """What every method is fitted to and scored on; places among the labelled samples.

    Attributes:
        fit: Training samples.
        test: Test samples, ``(item,)``.
        y: Class codes of all labelled samples.
        subject: Place of each test sample's subject in ``drawn``, ``(item,)``.
        drawn: Times each test subject is drawn, ``(resample, subject)``.
        sample_fit: Training samples of the split by sample.
        sample_test: Test samples of the split by sample.
    """

    fit: Places
    test: Places
    y: NDArray[np.int64]
    subject: NDArray[np.int64]
    drawn: NDArray[np.float64]
    sample_fit: Places
    sample_test: Places


@dataclass(frozen=True)
class Scored:
    """A method and what it reached.

    Attributes:
        method: The method.
        row: Its row of the table.
        samples: Test samples with their scores.
        subjects: Test subjects with their mean scores.
        resampled: Subject-level AUC in each resample, ``(resample,)``.
    """

    method: Method
    row: MethodScore
    samples: Ranked
    subjects: Ranked
    resampled: NDArray[np.float64]


def held_out(data: LabelledSamples, num_bootstrap: int, seed: int) -> HeldOut:
    """The sides of the cohort's own split, of a split by sample, and the resamples."""
    test = np.flatnonzero(~data.training)
    subjects, subject = np.unique(data.subject[test], return_inverse=True)
    label = main_label(data.y[test], subject)
    stratum = np.array([label[place] for place in range(len(subjects))])
    return HeldOut(
        np.flatnonzero(data.training),
        test,
        data.y,
        subject,
        draw_subjects(stratum, num_bootstrap, seed),
        *_sample_split(data.y, seed),
    )


def score(method: Method, side: HeldOut) -> Scored:
    """Fit ``method`` to the training samples and score the test samples."""
    samples = Ranked(method.scores(side.fit, side.test), side.y[side.test], side.subject)
    subjects = by_subject(samples)
    resampled = resampled_auc(subjects, side.drawn)
    inflated = method.scores(side.sample_fit, side.sample_test)
    each = np.arange(len(side.sample_test))
    row = MethodScore(
        name=method.name,
        title=method.title,
        source=method.source,
        setting=method.setting,
        training_auc=method.training_auc,
        sample_auc=interval(macro_auc(samples)[0], resampled_auc(samples, side.drawn)),
        subject_auc=interval(macro_auc(subjects)[0], resampled),
        sample_split_auc=float(macro_auc(Ranked(inflated, side.y[side.sample_test], each))[0]),
    )
    return Scored(method, row, samples, subjects, resampled)


def paired_difference(ours: Scored, theirs: Scored) -> Interval:
    """Subject-level AUC of one method minus another's, on the same resamples."""
    value = ours.row.subject_auc.value - theirs.row.subject_auc.value
    return interval(value, ours.resampled - theirs.resampled)


def curves(scored: Scored, side: HeldOut) -> tuple[RocCurve, RocCurve]:
    """ROC curves of a method by subject and by sample, with their bands."""
    return (
        _curve(scored, scored.subjects, side, "subject"),
        _curve(scored, scored.samples, side, "sample"),
    )


def _curve(
    scored: Scored, ranked: Ranked, side: HeldOut, level: Literal["subject", "sample"]
) -> RocCurve:
    parts = (_GRID, roc(ranked, _GRID)[0], *resampled_roc(ranked, _GRID, side.drawn))
    # The grid starts after the jump at 0: a curve begins in the corner.
    points = (np.concatenate([[0.0], part]) for part in parts)
    return RocCurve(scored.method.name, scored.method.source, level, *points)


def _sample_split(y: NDArray[np.int64], seed: int) -> tuple[Places, Places]:
    """A random 75/25 split of samples, class by class: visits of a person on both sides."""
    generator = np.random.default_rng(seed)
    is_test = np.zeros(len(y), dtype=np.bool_)
    for code in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == code))
        is_test[members[: round(len(members) / 4)]] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
