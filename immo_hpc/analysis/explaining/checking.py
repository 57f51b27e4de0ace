"""An attribution held against refits, exchanges between people, and itself without features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.attribution_tables import feature_table, ranking
from immo_hpc.analysis.explaining.baseline import Kind, baseline_of
from immo_hpc.analysis.explaining.explained import Explained
from immo_hpc.analysis.explaining.latent import Baseline
from immo_hpc.analysis.explaining.leaving_out import compare_without, held_out_auc
from immo_hpc.analysis.explaining.permutation import permutation_importance
from immo_hpc.analysis.explaining.results import (
    ExclusionResult,
    PermutationResult,
    StabilityResult,
)
from immo_hpc.analysis.explaining.stability import Refit, compare_refits
from immo_hpc.analysis.gradients import Attributions
from immo_hpc.analysis.labels import LabelledSamples
from immo_hpc.analysis.results import Interval
from immo_hpc.data.prepared import PreparedCohort

# Learns what is explained from a cohort, its labels, a seed and a baseline.
Learn = Callable[[PreparedCohort, LabelledSamples, int, Baseline | None], Explained]


@dataclass(frozen=True)
class Checks:
    """What is asked of an attribution besides itself.

    Attributes:
        baseline: 'mean' (all z-scores 0) or 'class' (the mean of the people of the first class).
        exclude: Patterns of features to leave out (`immo_hpc.data.exclude`).
        refits: Whether to refit the classifier to folds of people.
        permuted: Strongest features a layer whose values are exchanged, with as many controls;
            0 for all features, None for no permutation importance.
        repeats: Exchanges a feature.
        product: Whether to explain the product of experts too.
        retrained: Attributions of networks that were trained anew.
    """

    baseline: Kind = "mean"
    exclude: tuple[str, ...] = ()
    refits: bool = False
    permuted: int | None = None
    repeats: int = 10
    product: bool = False
    retrained: Sequence[Refit] = ()


# What a user is shown.
EVERY_CHECK = Checks(refits=True, permuted=25, product=True)


@dataclass(frozen=True)
class Task:
    """One attribution: whose samples, which scores, how.

    Attributes:
        cohort: The training cohort, with split and label.
        samples: The samples to explain.
        data: The labelled samples of the cohort.
        target: Which score to attribute, ``(sample,)``; as in `gradients.attribute`.
        is_held_out: Whether ``samples`` are the labelled test samples.
        top: Features a layer that are named.
        seed: Seed of folds and exchanges.
        steps: Steps of the path from the baseline.
        checks: What is asked besides.
    """

    cohort: PreparedCohort
    samples: PreparedCohort
    data: LabelledSamples
    target: NDArray[np.int64]
    is_held_out: bool
    top: int
    seed: int
    steps: int
    checks: Checks


def stability_of(
    explained: Explained,
    found: Attributions,
    samples: PreparedCohort,
    retrained: Sequence[Refit],
    task: Task,
) -> tuple[StabilityResult | None, StabilityResult | None]:
    """After refits of the classifier, and after retrainings of the network."""
    steps = max(4, task.steps // 4)
    refits = [
        ranking(other.attribute(samples, task.target, steps), samples)
        for other in (explained.refits() if task.checks.refits else ())
    ]
    names = {name: layer.features for name, layer in samples.layers.items()}
    reported = ranking(found, samples)
    of_people = f"{explained.title}, refitted to folds of the training people"
    of_networks = "the network trained anew with other seeds, on folds of the training people"
    return (
        compare_refits(refits, reported, names, task.top, of_people),
        compare_refits(retrained, reported, names, task.top, of_networks),
    )


def permuted(
    explained: Explained, samples: PreparedCohort, features: pd.DataFrame, task: Task
) -> PermutationResult | None:
    """Permutation importance on the held-out people; None where none was asked for."""
    if task.checks.permuted is None or not task.is_held_out:
        return None
    return permutation_importance(
        explained,
        samples,
        task.data.y[~task.data.training],
        features,
        top=task.top,
        most=task.checks.permuted,
        num_repeats=task.checks.repeats,
        seed=task.seed,
    )


def joined(features: pd.DataFrame, table: StabilityResult | None, prefix: str) -> pd.DataFrame:
    """``features`` with the columns of a stability beside them."""
    if table is None:
        return features
    keys = ["layer", "feature"]
    own = table.features.set_index(keys).add_prefix(prefix).reset_index()
    return features.merge(own, on=keys, how="left", validate="one_to_one")


def with_and_without(
    learn: Learn,
    explained: Explained,
    cohort: PreparedCohort,
    features: pd.DataFrame,
    task: Task,
) -> tuple[Interval | None, ExclusionResult | None]:
    """AUC by held-out person, and the comparison if features are excluded."""
    checks, data = task.checks, task.data
    if not checks.exclude:
        (auc,), _ = held_out_auc([explained], [cohort], data, task.seed)
        return (auc if task.is_held_out else None), None
    baseline = baseline_of(checks.baseline, task.cohort, data)
    full = learn(task.cohort, data, task.seed, baseline)
    aucs, difference = held_out_auc([full, explained], [task.cohort, cohort], data, task.seed)
    found = full.attribute(task.samples, task.target, task.steps)
    before = feature_table(found, task.samples)
    compared = compare_without(before, features, checks.exclude, aucs, difference, task.top)
    return (aucs[1] if task.is_held_out else None), compared
