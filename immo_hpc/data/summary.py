"""What `immo validate` says of a cohort, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from immo_hpc.config import LayerKind

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer in numbers.

    Attributes:
        name: Name of the layer.
        kind: How its values were made.
        samples: Samples it was measured in.
        features: Its features.
        missing_rate: Share of missing values among its rows.
        zero_rate: Share of zeros among its measured values.
        minimum: Smallest measured value, original units.
        maximum: Largest measured value, original units.
        scale: Scale the values seem to stand on, such as ``percent``.
        constant_features: Features with one single measured value throughout.
    """

    name: str
    kind: LayerKind
    samples: int
    features: int
    missing_rate: float
    zero_rate: float
    minimum: float
    maximum: float
    scale: str
    constant_features: int


@dataclass(frozen=True)
class Overlap:
    """Samples that have all, or any, of some layers.

    Attributes:
        name: ``mg & mt`` for all of them, ``mg | mt`` for at least one.
        layers: The layers meant.
        mode: ``all`` or ``any``.
        samples: Samples counted.
        labels: Samples by class; unlabelled ones are in no class.
    """

    name: str
    layers: tuple[str, ...]
    mode: Literal["all", "any"]
    samples: int
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Pattern:
    """Samples that have exactly the given layers.

    Attributes:
        layers: The layers they have.
        samples: Samples counted.
        labels: Samples by class; unlabelled ones are in no class.
    """

    layers: tuple[str, ...]
    samples: int
    labels: Mapping[str, int]


@dataclass(frozen=True)
class PatternTest:
    """Whether the missing pattern tells the label.

    Attributes:
        samples: Labelled samples the test rests on.
        cramers_v: Strength of the association, 0 (none) to 1 (the pattern gives the label).
        p_value: Chance of an association as strong where there is none.
        method: ``subjects permuted`` where each subject carries one label (visits of one
            person are not independent), else ``chi-square``.
    """

    samples: int
    cramers_v: float
    p_value: float
    method: str


@dataclass(frozen=True)
class SubjectSummary:
    """Repeated visits.

    Attributes:
        column: Column that names the subject.
        subjects: Subjects.
        visits_min: Fewest samples of a subject.
        visits_median: Median number of samples of a subject.
        visits_max: Most samples of a subject.
        labelled: Subjects with at least one labelled sample.
        single_label_rate: Share of those whose labelled samples all carry one label; None
            without any label.
        labels: Subjects by label, for subjects with a single label.
    """

    column: str
    subjects: int
    visits_min: int
    visits_median: float
    visits_max: int
    labelled: int
    single_label_rate: float | None
    labels: Mapping[str, int]


@dataclass(frozen=True)
class TimeSummary:
    """When samples were taken.

    Attributes:
        column: Column of the times.
        unknown: Samples whose time is not known.
        days_between: Median of the days between two samples of a subject that follow each
            other; None if nobody has two at known times.
        days_longest: Days between the first and the last sample of the subject followed longest.
    """

    column: str
    unknown: int
    days_between: float | None
    days_longest: float | None


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing.

    Attributes:
        severity: ``error`` stands in the way of an analysis, ``warning`` may mislead it,
            ``note`` is only said.
        where: Layer, column or part of the cohort.
        text: What was found and what to do, as a sentence.
    """

    severity: Severity
    where: str
    text: str


@dataclass(frozen=True)
class CohortSummary:
    """All of it.

    Attributes:
        samples: Samples with at least one layer.
        label: Label column, if any.
        classes: Its classes; of two, the positive one last.
        labels: Samples by class.
        unlabelled: Samples without a label; 0 if there is no label column.
        layers: One entry a layer.
        overlaps: Common and united samples of sets of layers (Table 1 of the paper).
        patterns: Which sets of layers occur, the most frequent first.
        pattern_test: Whether the pattern tells the label; None if that cannot be asked.
        subjects: Repeated visits; None if no subject column is named.
        times: When they were; None if no column of times is named.
        findings: Errors first, then warnings, then notes.
        notices: What was guessed, left out or put right while reading.
    """

    samples: int
    label: str | None
    classes: tuple[str, ...]
    labels: Mapping[str, int]
    unlabelled: int
    layers: tuple[LayerSummary, ...]
    overlaps: tuple[Overlap, ...]
    patterns: tuple[Pattern, ...]
    pattern_test: PatternTest | None
    subjects: SubjectSummary | None
    times: TimeSummary | None
    findings: tuple[Finding, ...]
    notices: tuple[str, ...]

    @property
    def has_errors(self) -> bool:
        """True if something stands in the way of an analysis."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
