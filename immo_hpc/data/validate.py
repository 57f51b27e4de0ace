"""Looking a cohort over before anything is computed from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.cohort import Cohort, Layer, days_of
from immo_hpc.data.findings import all_findings, constant_features, subject_labels
from immo_hpc.data.kinds import guess_scale
from immo_hpc.data.overlaps import class_counts, label_codes, overlaps, pattern_test, patterns
from immo_hpc.data.read import read_cohort
from immo_hpc.data.summary import CohortSummary, LayerSummary, SubjectSummary, TimeSummary


def validate_cohort(cohort: Cohort) -> CohortSummary:
    """Count what is there and collect what looks wrong.

    Args:
        cohort: A cohort as `immo_hpc.data.read.read_cohort` gives it.

    Returns:
        The summary; problems are findings in it, nothing is raised.
    """
    classes, codes = label_codes(cohort)
    layers = tuple(_layer(layer) for layer in cohort.layers.values())
    subjects = _subjects(cohort)
    test = pattern_test(cohort)
    return CohortSummary(
        samples=len(cohort.samples),
        label=cohort.roles.label,
        classes=classes,
        labels=class_counts(codes, classes),
        unlabelled=0 if cohort.roles.label is None else int((codes < 0).sum()),
        layers=layers,
        overlaps=overlaps(cohort),
        patterns=patterns(cohort),
        pattern_test=test,
        subjects=subjects,
        times=_times(cohort),
        findings=all_findings(cohort, layers, subjects, test),
        notices=cohort.notices,
    )


def inspect_cohort(
    path: Path,
    *,
    layers: Sequence[str] | None = None,
    label: str | None = None,
    subject: str | None = None,
    positive: str | None = None,
) -> CohortSummary:
    """Read and validate; arguments as for `immo_hpc.data.read.read_cohort`.

    Raises:
        CohortError: If the cohort cannot be read.
    """
    cohort = read_cohort(path, layers=layers, label=label, subject=subject, positive=positive)
    return validate_cohort(cohort)


def _layer(layer: Layer) -> LayerSummary:
    values = layer.values
    num_known = num_zeros = 0
    low = high = np.float32(np.nan)
    for _, block in row_blocks(values):
        num_known += int(block.size - np.count_nonzero(np.isnan(block)))
        num_zeros += int(np.count_nonzero(block == 0))
        low = np.fmin(low, np.fmin.reduce(block, axis=None))
        high = np.fmax(high, np.fmax.reduce(block, axis=None))
    return LayerSummary(
        name=layer.name,
        kind=layer.kind,
        samples=len(layer.rows),
        features=len(layer.features),
        missing_rate=1 - num_known / values.size if values.size else 0.0,
        zero_rate=num_zeros / max(num_known, 1),
        minimum=float(low) if num_known else 0.0,
        maximum=float(high) if num_known else 0.0,
        scale=guess_scale(values),
        constant_features=int(constant_features(values).sum()),
    )


def _subjects(cohort: Cohort) -> SubjectSummary | None:
    if cohort.roles.subject is None:
        return None
    visits = cohort.subjects.value_counts()
    labels = None if cohort.labels is None else subject_labels(cohort)
    rate = None
    counts: dict[str, int] = {}
    if labels is not None and len(labels):
        rate = float(labels.notna().mean())
        classes, _ = label_codes(cohort)
        counts = {name: int((labels == name).sum()) for name in classes}
    return SubjectSummary(
        column=cohort.roles.subject,
        subjects=len(visits),
        visits_min=int(visits.min()),
        visits_median=float(visits.median()),
        visits_max=int(visits.max()),
        labelled=0 if labels is None else len(labels),
        single_label_rate=rate,
        labels=counts,
    )


def _times(cohort: Cohort) -> TimeSummary | None:
    if cohort.roles.time is None:
        return None
    days = pd.Series(days_of(cohort.samples, cohort.roles))
    known = days[days.notna()].sort_values()
    by_subject = known.groupby(cohort.subjects.to_numpy()[known.index])
    steps = by_subject.diff().dropna()
    span = by_subject.max() - by_subject.min()
    return TimeSummary(
        column=cohort.roles.time,
        unknown=int(days.isna().sum()),
        days_between=float(steps.median()) if len(steps) else None,
        days_longest=float(span.max()) if len(steps) else None,
    )
