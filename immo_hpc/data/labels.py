"""The label of a cohort: its classes, and whether it can be learnt."""

from __future__ import annotations

import pandas as pd

from immo_hpc.data.check import choices
from immo_hpc.data.cohort import Cohort, Roles
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError

_OBVIOUS_POSITIVE = {"1", "true", "yes", "case", "cases", "positive", "disease", "diseased"}


def class_names(labels: pd.Series, roles: Roles) -> tuple[str, ...]:
    """Classes in order; of two, the positive one stands last.

    The positive class is the one that ``roles`` names, else an obvious one ('1', 'yes',
    'case', ...), else the last in order.

    Example:
        >>> class_names(pd.Series(["case", None, "control"]), Roles())
        ('control', 'case')
    """
    found = sorted((str(value) for value in labels.dropna().unique()), key=_natural)
    if len(found) == 2:
        obvious = [name for name in found if name.casefold() in _OBVIOUS_POSITIVE]
        last = roles.positive if roles.positive in found else (obvious[0] if obvious else found[1])
        found.sort(key=lambda name: name == last)
    return tuple(found)


def label_problems(samples: pd.DataFrame, roles: Roles) -> list[str]:
    """Why the label of ``samples`` cannot be learnt; empty if it can."""
    columns = [str(name) for name in samples.columns]
    if roles.label is None:
        return [
            "sample table: no label column is named. Name one with --label or under 'label:' "
            f"in cohort.yaml; there are: {', '.join(columns) or 'none'}."
        ]
    if roles.label not in columns:
        return [f"sample table: no column '{roles.label}'; {choices(roles.label, columns)}."]
    where = f"sample table, label column '{roles.label}'"
    labels = samples[roles.label].dropna()
    if labels.empty:
        return [
            f"{where}: none of the {len(samples)} samples carries a label. Fill the column in, "
            "or name another with --label."
        ]
    problems = []
    classes = class_names(labels, roles)
    if len(classes) < 2:
        problems.append(
            f"{where}: expected at least two classes, found one class only ('{classes[0]}', "
            f"{len(labels)} samples). Name another label, or add samples of another class."
        )
    elif roles.positive is not None and roles.positive not in classes:
        problems.append(
            f"{where}: the positive class is said to be '{roles.positive}', but the classes are "
            f"{', '.join(classes)}. Give one of these to --positive or 'positive:'."
        )
    if roles.subject is not None:
        owners = samples.loc[labels.index, roles.subject].dropna().unique()
        if len(owners) == 1:
            problems.append(
                f"sample table, subject column '{roles.subject}': expected several subjects, "
                f"found one subject only ('{owners[0]}') behind all {len(labels)} labelled "
                "samples. A label cannot be tested on unseen subjects; if this column does not "
                "name people, name another with --subject."
            )
    return problems


def require_labels(
    samples: Cohort | PreparedCohort | pd.DataFrame, roles: Roles | None = None
) -> pd.Series:
    """The label column, after making sure that it can be learnt.

    Args:
        samples: A cohort, prepared or not, or its sample table.
        roles: Meaning of the columns; a cohort's own if not given.

    Returns:
        Labels as text, index ``sample_id``, None where unknown.

    Raises:
        CohortError: If there is no label column, no labelled sample, one class only, one
            subject only, or if the positive class is not among the classes.
    """
    if isinstance(samples, Cohort | PreparedCohort):
        roles = samples.roles if roles is None else roles
        samples = samples.samples
    roles = Roles() if roles is None else roles
    problems = label_problems(samples, roles)
    if problems:
        raise CohortError(" ".join(problems))
    return samples[roles.label]


def _natural(name: str) -> tuple[int, float, str]:
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
