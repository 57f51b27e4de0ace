"""Suspicious things in a cohort, each said in one sentence with what to do.

Legend of shapes as in `immo_hpc.data.cohort`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.check import examples
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.kinds import are_whole, guess_kind, guess_scale, parts_of
from immo_hpc.data.labels import class_names, label_problems
from immo_hpc.data.summary import Finding, LayerSummary, PatternTest, SubjectSummary
from immo_hpc.data.times import as_days

_RANK = {"error": 0, "warning": 1, "note": 2}
_FEW_SUBJECTS = 5
_SHORT_PROFILE = 8
_STRONG_PATTERN = 0.1
_RARE_LAYER = 0.05
_LOGGED = {"log-like", "z-score"}
_TIME_LIKE = ("time", "date", "day", "week", "month")
_SUBJECT_LIKE = ("subject", "patient", "participant", "donor", "individual", "person")


def all_findings(
    cohort: Cohort,
    layers: tuple[LayerSummary, ...],
    subjects: SubjectSummary | None,
    test: PatternTest | None,
) -> tuple[Finding, ...]:
    """Everything worth knowing about a cohort: errors first, then warnings, then notes."""
    found = [*_of_label(cohort), *_of_subjects(cohort, subjects)]
    if test is not None:
        found += _of_pattern(test)
    for summary in layers:
        found += _of_layer(cohort, cohort.layers[summary.name], summary)
    return tuple(sorted(found, key=lambda finding: _RANK[finding.severity]))


def constant_features(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True where all measured values of a feature are the same, ``(feature,)``, bool."""
    low = np.full(values.shape[1], np.nan, dtype=np.float32)
    high = low.copy()
    for _, block in row_blocks(values):
        low = np.fmin(low, np.fmin.reduce(block, axis=0))
        high = np.fmax(high, np.fmax.reduce(block, axis=0))
    return np.asarray(low == high)


def row_sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of the measured values of each row, ``(row,)``, float64."""
    sums = np.empty(len(values), dtype=np.float64)
    for places, block in row_blocks(values):
        sums[places] = np.nansum(block, axis=1, dtype=np.float64)
    return sums


def equal_profiles(layer: Layer) -> list[NDArray[np.int64]]:
    """Groups of rows that are equal in every feature, as places in the layer."""
    # Adding 0 turns -0 into 0; every NaN becomes the same one.
    by_digest: dict[bytes, list[int]] = {}
    for places, block in row_blocks(layer.values):
        plain = np.where(np.isnan(block), np.float32(np.nan), block + np.float32(0))
        for row, values in zip(places, plain, strict=True):
            digest = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
            by_digest.setdefault(digest, []).append(int(row))
    return [np.array(rows, dtype=np.int64) for rows in by_digest.values() if len(rows) > 1]


def _of_label(cohort: Cohort) -> Iterator[Finding]:
    if cohort.labels is None:
        yield Finding(
            "note",
            "label",
            "No label column is named, so nothing will be classified; name one with --label.",
        )
        return
    where = f"column '{cohort.roles.label}'"
    for problem in label_problems(cohort.samples, cohort.roles):
        yield Finding("error", where, problem)
    unknown = int(cohort.labels.isna().sum())
    if unknown:
        yield Finding(
            "note",
            where,
            f"{unknown} of {len(cohort.labels)} samples carry no label; they serve the latent "
            "space, but no classifier.",
        )
    for name in class_names(cohort.labels, cohort.roles):
        held = (cohort.labels == name).to_numpy()
        count = cohort.subjects[held].nunique()
        if count < _FEW_SUBJECTS:
            unit = "samples" if cohort.roles.subject is None else "subjects"
            yield Finding(
                "warning",
                where,
                f"Class '{name}' has only {count} {unit}, so its scores will be very uncertain; "
                "merge or leave out the class if that makes sense.",
            )


def _of_subjects(cohort: Cohort, subjects: SubjectSummary | None) -> Iterator[Finding]:
    if subjects is None:
        near = [
            str(column)
            for column in cohort.samples.columns
            if any(word in str(column).casefold() for word in _SUBJECT_LIKE)
        ]
        hint = f" (perhaps '{near[0]}')" if near else ""
        yield Finding(
            "warning" if near else "note",
            "subjects",
            "No subject column is named, so every sample counts as a subject of its own. If "
            f"people were sampled more than once, name the column with --subject{hint}.",
        )
        return
    where = f"column '{subjects.column}'"
    rate = subjects.single_label_rate
    if subjects.visits_max > 1 and rate is not None and rate >= 0.5:
        yield Finding(
            "warning",
            where,
            f"{rate:.0%} of the subjects carry one single label over up to {subjects.visits_max} "
            "visits: a split by sample would leak (it rewards recognising the person). Keep the "
            "split by subject, which is the default.",
        )
    times = [] if cohort.roles.time or subjects.visits_max == 1 else _time_like(cohort)
    if times:
        yield Finding(
            "note",
            "times",
            f"Column '{times[0]}' may say when samples were taken; named with --time, visits of a "
            "person that lie close together count more for each other.",
        )


def _time_like(cohort: Cohort) -> list[str]:
    """Columns that may hold times: so named, readable where filled, not one for each subject."""
    found = []
    for name in cohort.samples.columns:
        column = cohort.samples[name]
        is_named = any(word in str(name).casefold() for word in _TIME_LIKE)
        if not is_named or name in cohort.roles.columns or column.isna().all():
            continue
        is_readable = np.isfinite(as_days(column.dropna(), "days")).all()
        changes = column.groupby(cohort.subjects.to_numpy()).nunique().max() > 1
        if is_readable and changes:
            found.append(str(name))
    return found


def _of_pattern(test: PatternTest) -> Iterator[Finding]:
    if test.p_value < 0.01 and test.cramers_v >= _STRONG_PATTERN:
        yield Finding(
            "warning",
            "missing layers",
            f"Which layers a sample has tells something about its label (Cramer's V "
            f"{test.cramers_v:.2f}, p {test.p_value:.2g}, {test.method}): a classifier may learn "
            "who was measured rather than what was measured.",
        )


def _of_layer(cohort: Cohort, layer: Layer, summary: LayerSummary) -> Iterator[Finding]:
    yield from _of_scale(layer, summary)
    names = np.asarray(cohort.sample_ids, dtype=object)[layer.rows]
    if len(layer.features) >= _SHORT_PROFILE and layer.kind != "binary":
        groups = equal_profiles(layer)
        if groups:
            pairs = examples(" = ".join(names[row] for row in rows[:3]) for rows in groups)
            yield Finding(
                "warning",
                layer.name,
                f"{sum(map(len, groups))} samples share their whole profile with another one "
                f"({pairs}); one of each may be a copy under a wrong name.",
            )
    if layer.kind in ("composition", "counts"):
        totals = row_sums(layer.values)
        empty = [names[row] for row in np.flatnonzero(totals <= 0)]
        if empty:
            yield Finding(
                "warning",
                layer.name,
                f"{len(empty)} samples hold nothing but zeros ({examples(empty)}); if the "
                "measurement failed, remove these rows.",
            )
    if summary.constant_features:
        constant = np.flatnonzero(constant_features(layer.values))
        listed = examples((layer.features[place] for place in constant), 3)
        yield Finding(
            "note",
            layer.name,
            f"{len(constant)} features never change ({listed}); the preparation drops them.",
        )
    if len(layer.rows) < _RARE_LAYER * len(cohort.samples):
        yield Finding(
            "note",
            layer.name,
            f"Only {len(layer.rows)} of {len(cohort.samples)} samples have this layer; what is "
            "imputed for the others rests on few.",
        )


def _of_scale(layer: Layer, summary: LayerSummary) -> Iterator[Finding]:
    text = None
    values = layer.values
    if layer.kind == "composition" and parts_of(values) is None:
        sums = row_sums(values)
        text = (
            f"Rows of a composition should sum to 1 or 100, but sum to {sums.min():.3g} to "
            f"{sums.max():.3g}; nested ranks belong into separate tables (see 'columns:'), "
            "counts and intensities have kinds of their own."
        )
    elif layer.kind == "counts" and not are_whole(values):
        text = (
            "Counts should be whole numbers, but are not; if they are normalised, choose another "
            "kind."
        )
    elif layer.kind == "intensity" and guess_scale(values) in _LOGGED:
        text = (
            f"Intensities end at {summary.maximum:.3g}, as if they were logged already; then "
            "'kind: continuous' is right."
        )
    elif layer.kind == "continuous":
        guessed = guess_kind(values)
        if guessed not in ("continuous", "binary"):
            text = f"The values look like kind '{guessed}', but are taken as they are (continuous)."
    if text is not None:
        yield Finding("warning", layer.name, text)


def subject_labels(cohort: Cohort) -> pd.Series:
    """Label of each subject whose labelled samples all carry one, None for mixed ones."""
    assert cohort.labels is not None
    known = cohort.labels.notna().to_numpy()
    by_subject = cohort.labels[known].groupby(cohort.subjects[known].to_numpy())
    return by_subject.agg(lambda labels: labels.iloc[0] if labels.nunique() == 1 else None)
