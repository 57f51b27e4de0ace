"""Whether intervals hold what they promise, and flags stay rare: measured on test subjects.

Legend of shapes: ``row`` counts samples of a layer, ``feature`` its features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import draw_subjects, interval
from immo_hpc.analysis.jsonable import fields
from immo_hpc.analysis.results import Interval
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import visited, with_visits
from immo_hpc.errors import CohortError
from immo_hpc.inference import TrainedModel
from immo_hpc.inference.calibration.distance import FAR_BELOW
from immo_hpc.inference.calibration.hidden import HiddenErrors, Mode, among, hidden_errors
from immo_hpc.inference.calibration.intervals import Offsets

NOMINAL = (0.8, 0.9, 0.95)
_NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class CoverageResult:
    """Intervals and flags on test subjects.

    Attributes:
        intervals: One row a task, layer and level, without other visits and with them:
            ``visits`` (whether other visits of the person were looked at; only samples that have
            some count then), ``task`` ('values', 'layers', 'revisited'), ``layer``, ``nominal``,
            ``coverage`` (share of hidden values within their interval) with its bootstrap
            interval over subjects ``lower``, ``upper``; ``by_subject`` (mean over subjects of
            their share), ``width`` (mean, in standard deviations of the training samples),
            ``num_values`` and ``num_subjects``.
        far: Share of the test samples that are taken to be far from the training data, though
            they are of the same cohort, with its bootstrap interval over subjects.
        far_nominal: What that share is to be.
    """

    intervals: pd.DataFrame
    far: Interval
    far_nominal: float = FAR_BELOW

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return fields(self)


def measure_coverage(model: TrainedModel, cohort: PreparedCohort, *, seed: int) -> CoverageResult:
    """Hide measured values of the test subjects, and count those within their intervals.

    Args:
        model: Calibrated model.
        cohort: The prepared samples with their split.
        seed: Seed of what is hidden and of the resamples.

    Raises:
        UsageError: If the model has no calibration.
        CohortError: If there is no test sample from which anything could be hidden.
    """
    calibration = model.require_calibration()
    test = cohort.take(cohort.indices("test")) if cohort.split is not None else cohort.take([])
    rows = []
    if len(test.samples):
        subjects = np.asarray(test.subjects.astype(str))
        for mode, hidden in _hidden(model, test, seed):
            for level in NOMINAL:
                offsets = calibration.offsets(hidden.layer, level, mode)[hidden.task]
                if np.isfinite(offsets.lower).all():
                    found = _covered(hidden, offsets, subjects[hidden.rows], seed)
                    at = {"visits": mode == "visits", "task": hidden.task, "layer": hidden.layer}
                    rows.append({**at, "nominal": level, **found})
    if not rows:
        message = (
            "coverage of intervals: no test sample has a value that could be hidden and has an "
            "interval. Give the cohort of the run, with split.test_fraction above 0."
        )
        raise CohortError(message)
    is_far = model.distances(test)["is_far"].to_numpy()
    far = interval(*_share(is_far.astype(np.float64), np.ones(len(is_far)), subjects, seed))
    return CoverageResult(pd.DataFrame(rows), far)


def _hidden(
    model: TrainedModel, test: PreparedCohort, seed: int
) -> Iterator[tuple[Mode, HiddenErrors]]:
    """Errors by what was looked at; with other visits, of samples that have some."""
    for hidden in hidden_errors(model, test, seed):
        yield "plain", hidden
    shown = with_visits(test)
    if visited(shown).any():
        for hidden in hidden_errors(model, shown, seed):
            if (some := among(hidden, visited(shown))) is not None:
                yield "visits", some


def _covered(
    hidden: HiddenErrors, offsets: Offsets, subjects: NDArray[np.str_], seed: int
) -> dict[str, Any]:
    is_hidden = np.isfinite(hidden.error)
    inside = (hidden.error >= offsets.lower) & (hidden.error <= offsets.upper)
    count = is_hidden.sum(axis=1).astype(np.float64)
    hits = (inside & is_hidden).sum(axis=1).astype(np.float64)
    share = interval(*_share(hits, count, subjects, seed))
    _, place = np.unique(subjects, return_inverse=True)
    by_subject = np.bincount(place, hits) / np.maximum(np.bincount(place, count), 1)
    width = (offsets.upper - offsets.lower).astype(np.float64)
    return {
        "coverage": share.value,
        "lower": share.lower,
        "upper": share.upper,
        "by_subject": float(by_subject.mean()),
        "width": float((is_hidden * width).sum() / count.sum()),
        "num_values": int(count.sum()),
        "num_subjects": len(by_subject),
    }


def _share(
    hits: NDArray[np.float64],
    count: NDArray[np.float64],
    subjects: NDArray[np.str_],
    seed: int,
) -> tuple[float, NDArray[np.float64]]:
    """Share of hits, and its resamples over subjects."""
    _, place = np.unique(subjects, return_inverse=True)
    above, below = np.bincount(place, hits), np.bincount(place, count)
    drawn = draw_subjects(np.zeros(len(above), dtype=np.int64), _NUM_RESAMPLES, seed)
    return float(above.sum() / below.sum()), (drawn @ above) / np.maximum(drawn @ below, 1)
