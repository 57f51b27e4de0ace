"""The paper's samples, groups and subsets in a cohort that a user has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.reproduce.published import Published
from immo_hpc.analysis.reproduce.published_parts import LabelRule, Subset
from immo_hpc.data.cohort import Cohort
from immo_hpc.errors import CohortError

# The column that the paper's groups are put into.
GROUP = "group of the paper"


def paper_cohort(
    cohort: Cohort, facts: Published, where: str, *, is_chosen: bool = False
) -> Cohort:
    """The paper's layers of a cohort, and its two groups as the label.

    Args:
        cohort: Any cohort.
        facts: The cohort of the paper that it should be.
        where: Place of the cohort, for messages.
        is_chosen: The user has named the cohort's label, which then goes before the paper's.

    Raises:
        CohortError: If a layer, the label or the people are not there; the message says what
            was found.
    """
    missing = [name for name in facts.layers if name not in cohort.layers]
    if missing:
        message = (
            f"{where}: to reproduce {facts.name} the layers {', '.join(facts.layers)} are needed; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there, found "
            f"{', '.join(cohort.layers) or 'none'}. Name another cohort, or rename the tables and "
            "their entries under 'layers:' in cohort.yaml."
        )
        raise CohortError(message)
    if cohort.roles.subject is None:
        message = (
            f"{where}: no column names the person of each sample, so nothing can be split by "
            "person. Name one with --subject or under 'subject:' in cohort.yaml."
        )
        raise CohortError(message)
    columns = (str(cohort.roles.label),) if is_chosen else facts.label.columns
    label = _groups(cohort, facts.label, columns, where)
    kept = replace(
        cohort,
        samples=cohort.samples.assign(**{GROUP: label}),
        layers={name: cohort.layers[name] for name in facts.layers},
        roles=replace(cohort.roles, label=GROUP, positive=facts.label.titles[1]),
    )
    return kept.take(np.flatnonzero(kept.measured().any(axis=1)))


def places_of(subset: Subset, measured: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Places of a subset's samples, increasing.

    Args:
        subset: Which samples.
        measured: By layer, True where a sample has it, ``(sample,)``, bool.

    Example:
        >>> has = {"a": np.array([True, True, False]), "b": np.array([False, True, True])}
        >>> places_of(Subset("x", ("a", "b"), "all"), has).tolist()
        [1]
    """
    table = np.stack([measured[name] for name in subset.layers])
    held = table.all(axis=0) if subset.mode == "all" else table.any(axis=0)
    return np.flatnonzero(held).astype(np.int64)


def measured_by_layer(table: NDArray[np.bool_], layers: list[str]) -> dict[str, NDArray[np.bool_]]:
    """Columns of a ``(sample, layer)`` table by the layer's name."""
    return dict(zip(layers, table.T, strict=True))


def subset_table(cohort: Cohort, facts: Published) -> pd.DataFrame:
    """Samples of each subset beside the paper's.

    Returns:
        One row a subset: ``subset``, ``meaning``, ``paper_samples``, ``paper_negative``,
        ``paper_positive`` (None where the paper has no number), ``samples``, ``negative``,
        ``positive``, ``subjects``, ``negative_subjects``, ``positive_subjects``.
    """
    measured = measured_by_layer(cohort.measured(), list(cohort.layers))
    groups = cohort.samples[GROUP].to_numpy(dtype=object)
    people = cohort.subjects.astype(str).to_numpy()
    rows = []
    for subset in facts.subsets:
        place = places_of(subset, measured)
        held = [place[groups[place] == name] for name in facts.label.titles]
        rows.append(
            {
                "subset": subset.name,
                "meaning": subset.meaning,
                "paper_samples": subset.samples,
                "paper_negative": subset.negative,
                "paper_positive": subset.positive,
                "samples": len(place),
                "negative": len(held[0]),
                "positive": len(held[1]),
                "subjects": len(np.unique(people[place])),
                "negative_subjects": len(np.unique(people[held[0]])),
                "positive_subjects": len(np.unique(people[held[1]])),
            }
        )
    return pd.DataFrame(rows).astype(dict.fromkeys(rows[0], object))


def _groups(cohort: Cohort, rule: LabelRule, columns: tuple[str, ...], where: str) -> pd.Series:
    """The paper's group of each sample, None where it is in neither.

    A cohort whose columns have none of the paper's values is taken by its own label, if that
    has two classes.
    """
    for column in columns:
        if column in cohort.samples.columns:
            groups = _grouped(cohort.samples[column], set(rule.negative), set(rule.positive), rule)
            if set(rule.titles) <= set(groups):
                return groups
    label = cohort.labels
    classes = [] if label is None else sorted(set(label.dropna().astype(str)))
    if label is None or len(classes) != 2:
        message = (
            f"{where}: to tell '{rule.titles[0]}' from '{rule.titles[1]}', a column "
            f"{' or '.join(rule.columns)} with values {', '.join(rule.negative)} and "
            f"{', '.join(rule.positive)} is needed, or a label of two classes; the label "
            f"{cohort.roles.label} has {', '.join(classes[:9]) or 'none'}. Name another column "
            "with --label or in cohort.yaml."
        )
        raise CohortError(message)
    positive = cohort.roles.positive or classes[1]
    return _grouped(label, set(classes) - {positive}, {positive}, rule)


def _grouped(
    column: pd.Series, negative: set[str], positive: set[str], rule: LabelRule
) -> pd.Series:
    named = dict.fromkeys(negative, rule.titles[0]) | dict.fromkeys(positive, rule.titles[1])
    texts = [None if pd.isna(value) else str(value) for value in column]
    groups = [None if text is None else named.get(text) for text in texts]
    return pd.Series(groups, index=column.index, dtype=object)
