"""The summary of a cohort as plain text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from immo_hpc.data.summary import CohortSummary, Pattern

_WIDTH = 100
_NAME_WIDTH = 44
_CLASS_WIDTH = 16
_MOST_CLASSES = 6
_MOST_PATTERNS = 24
_MOST_LAYERS_BY_COLUMN = 6


def render_summary(summary: CohortSummary) -> str:
    """Write a summary for a person.

    Args:
        summary: What `immo_hpc.data.validate.validate_cohort` found.

    Returns:
        Lines of at most 100 columns, without a newline at the end.
    """
    parts = [
        _head(summary),
        _layers(summary),
        _overlaps(summary),
        _patterns(summary),
        _subjects(summary),
        _findings(summary),
    ]
    return "\n\n".join(part for part in parts if part)


def text_table(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Cells in columns, the first ``left`` of them to the left, the others to the right.

    Example:
        >>> print(text_table([["layer", "samples"], ["mg", "12"]]))
          layer  samples
          mg          12
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _head(summary: CohortSummary) -> str:
    lines = [f"{summary.samples} samples, {len(summary.layers)} layers"]
    if summary.label is not None:
        counts = ", ".join(f"{name}: {count}" for name, count in summary.labels.items()) or "none"
        unlabelled = f"; unlabelled: {summary.unlabelled}" if summary.unlabelled else ""
        lines += _wrapped(f"Label {summary.label} - {counts}{unlabelled}", indent="")
    return "\n".join(lines)


def _layers(summary: CohortSummary) -> str:
    rows = [["layer", "kind", "scale", "samples", "features", "missing", "zero", "min", "max"]]
    rows += [
        [
            _short(layer.name, 20),
            layer.kind,
            layer.scale,
            str(layer.samples),
            str(layer.features),
            _percent(layer.missing_rate),
            _percent(layer.zero_rate),
            f"{layer.minimum:.4g}",
            f"{layer.maximum:.4g}",
        ]
        for layer in summary.layers
    ]
    return "Layers\n" + text_table(rows, left=3)


def _overlaps(summary: CohortSummary) -> str:
    if not summary.overlaps:
        return ""
    rows = [["layers", "samples"]]
    rows += [[_short(item.name, _NAME_WIDTH), str(item.samples)] for item in summary.overlaps]
    counted = _with_classes(rows, [item.labels for item in summary.overlaps], summary)
    title = f"Overlaps (a & b: samples that have both; a | b: at least one){_by_label(summary)}"
    return f"{title}\n{text_table(counted)}"


def _patterns(summary: CohortSummary) -> str:
    names = [layer.name for layer in summary.layers]
    by_column = len(names) <= _MOST_LAYERS_BY_COLUMN
    heads = [_short(name, 8) for name in names] if by_column else ["measured layers"]
    shown, rest = summary.patterns[:_MOST_PATTERNS], summary.patterns[_MOST_PATTERNS:]
    rows = [[*heads, "samples"]]
    for pattern in shown:
        listed = _short(", ".join(pattern.layers), _NAME_WIDTH)
        marks = _marks(pattern, names) if by_column else [listed]
        rows.append([*marks, str(pattern.samples)])
    counted = _with_classes(rows, [pattern.labels for pattern in shown], summary)
    title = "Missing patterns (x: measured, -: not)" if by_column else "Missing patterns"
    lines = [title + _by_label(summary), text_table(counted, left=len(heads))]
    if rest:
        lines.append(
            f"  ... and {len(rest)} rarer patterns with {sum(p.samples for p in rest)} samples"
        )
    test = summary.pattern_test
    if test is not None:
        lines.append(
            f"  Pattern and label: Cramer's V {test.cramers_v:.2f} (0 none, 1 complete), "
            f"p {test.p_value:.2g} ({test.method})"
        )
    return "\n".join(lines)


def _subjects(summary: CohortSummary) -> str:
    subjects = summary.subjects
    if subjects is None:
        return ""
    lines = [
        f"Subjects ({subjects.column})",
        f"  {subjects.subjects} subjects; samples each: min {subjects.visits_min}, median "
        f"{subjects.visits_median:g}, max {subjects.visits_max}",
    ]
    if subjects.single_label_rate is not None:
        counts = ", ".join(f"{name}: {count}" for name, count in subjects.labels.items())
        text = (
            f"{_percent(subjects.single_label_rate)} of {subjects.labelled} labelled subjects "
            f"carry one single label ({counts})"
        )
        lines += _wrapped(text, indent="  ")
    times = summary.times
    if times is not None and times.days_between is not None:
        unknown = f"; unknown for {times.unknown} samples" if times.unknown else ""
        text = (
            f"{times.column}: {times.days_between:.4g} days from one sample to the next (median), "
            f"{times.days_longest:.4g} at most from first to last{unknown}"
        )
        lines += _wrapped(text, indent="  ")
    return "\n".join(lines)


def _findings(summary: CohortSummary) -> str:
    if not summary.findings:
        return "Findings: none"
    severities = [finding.severity for finding in summary.findings]
    counts = [
        f"{severities.count(severity)} {severity}{'' if severities.count(severity) == 1 else 's'}"
        for severity in ("error", "warning", "note")
    ]
    lines = [f"Findings ({', '.join(counts)})"]
    for finding in summary.findings:
        text = f"{finding.severity}: {finding.where}: {finding.text}"
        lines += _wrapped(text, indent="  ", hanging="      ")
    return "\n".join(lines)


def _by_label(summary: CohortSummary) -> str:
    return f", by {_short(summary.label, 24)}" if summary.label and summary.classes else ""


def _with_classes(
    rows: Sequence[Sequence[str]], labels: Sequence[Mapping[str, int]], summary: CohortSummary
) -> list[list[str]]:
    """The rows (header first) with a count for each class that fits into the width."""
    used = sum(2 + max(len(row[place]) for row in rows) for place in range(len(rows[0])))
    heads = [_short(name, _CLASS_WIDTH) for name in summary.classes]
    num_shown = min(len(heads), _MOST_CLASSES)
    if used + _width_of(heads[:num_shown]) > _WIDTH or num_shown < len(heads):
        while num_shown and used + _width_of([*heads[:num_shown], "1000 more"]) > _WIDTH:
            num_shown -= 1
    shown, rest = summary.classes[:num_shown], summary.classes[num_shown:]
    counted = [[*rows[0], *heads[:num_shown], *([f"{len(rest)} more"] if rest else [])]]
    for row, counts in zip(rows[1:], labels, strict=True):
        cells = [str(counts[name]) for name in shown]
        more = [str(sum(counts[name] for name in rest))] if rest else []
        counted.append([*row, *cells, *more])
    return counted


def _width_of(heads: Sequence[str]) -> int:
    # A count of millions of samples is wider than the name of a class such as '0'.
    return sum(2 + max(len(head), 7) for head in heads)


def _marks(pattern: Pattern, names: Sequence[str]) -> list[str]:
    return ["x" if name in pattern.layers else "-" for name in names]


def _percent(share: float) -> str:
    """A share in percent; a small one is never shown as none, nor a large one as all.

    Example:
        >>> _percent(0.9999), _percent(1.0), _percent(0.0), _percent(0.00001)
        ('>99.9 %', '100 %', '0 %', '<0.1 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if share >= 0.9995 else f"{100 * share:.1f} %"


def _short(text: str | None, width: int) -> str:
    text = " ".join((text or "").split())
    return text if len(text) <= width else text[: width - 3] + "..."


def _wrapped(text: str, *, indent: str, hanging: str | None = None) -> list[str]:
    hanging = indent + "  " if hanging is None else hanging
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=hanging)
