"""Which features a classification rests on, and how far that can be believed.

A logistic regression on the latent is put on top of the encoder, and integrated gradients
(`immo_hpc.analysis.gradients`) carry its score back to the features. The product of experts on
layers and latent, which is what classifies people, is explained beside it. Each attribution
comes with its checks (`immo_hpc.analysis.explaining`): does it add up, does it rest on what was
learnt, is it the same for other people, is it needed on people never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from immo_hpc.analysis.attribution_tables import (
    feature_table,
    layer_table,
    subject_table,
    value_table,
)
from immo_hpc.analysis.explaining.baseline import baseline_of, baseline_words, targets
from immo_hpc.analysis.explaining.checking import (
    EVERY_CHECK,
    Checks,
    Learn,
    Task,
    joined,
    permuted,
    stability_of,
    with_and_without,
)
from immo_hpc.analysis.explaining.fused import fused_classifier
from immo_hpc.analysis.explaining.latent import Embedding, latent_classifier
from immo_hpc.analysis.explaining.leaving_out import hidden, without_features
from immo_hpc.analysis.explaining.notices import notices_of
from immo_hpc.analysis.explaining.stability import Refit
from immo_hpc.analysis.gradients import completeness_gaps
from immo_hpc.analysis.labels import labelled_samples
from immo_hpc.analysis.randomisation import check_randomised
from immo_hpc.analysis.results import AttributionResult
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError, UsageError

__all__ = ["EVERY_CHECK", "Checks", "explain"]

_NUM_REDRAWS = 3


def explain(
    model: Embedding,
    cohort: PreparedCohort,
    *,
    top: int = 10,
    seed: int,
    steps: int = 32,
    samples: PreparedCohort | None = None,
    checks: Checks | None = None,
) -> AttributionResult:
    """Attribute the classification of samples to their features.

    The classifier is a logistic regression on the latent, its penalty chosen and its weights
    fitted on the training subjects (train and validation).

    Args:
        model: The trained model.
        cohort: The prepared samples it was trained on, with split and label.
        top: Number of features to name per layer.
        seed: Seed of folds, exchanges and random encoders.
        steps: Steps of the path from the baseline.
        samples: Samples to explain, such as new ones; None for the labelled test samples.
        checks: Baseline, features to leave out, and what the result is held against besides
            completeness and random encoders; None for nothing.

    Raises:
        CohortError: As for `labelled_samples`; or if there is no sample to explain.
        UsageError: If ``top`` or ``steps`` is below 1, or a baseline does not fit the classes.
    """
    if top < 1 or steps < 1:
        message = f"explain: top and steps must be at least 1, found top={top}, steps={steps}."
        raise UsageError(message)
    checks = checks or Checks()
    data = labelled_samples(cohort)
    chosen = cohort.take(data.index[~data.training]) if samples is None else samples
    if not len(chosen.samples):
        message = "explain: expected at least one sample to explain, found none."
        raise CohortError(message)
    target = targets(chosen, data)
    task = Task(cohort, chosen, data, target, samples is None, top, seed, steps, checks)
    latent = partial(latent_classifier, model)
    result = _explained(latent, task, checks.retrained)
    if checks.product:
        result = replace(result, product=_explained(partial(fused_classifier, model), task, ()))
    return result


def _explained(learn: Learn, task: Task, retrained: Sequence[Refit]) -> AttributionResult:
    checks, data = task.checks, task.data
    cohort, samples = (hidden(each, checks.exclude) for each in (task.cohort, task.samples))
    explained = learn(cohort, data, task.seed, baseline_of(checks.baseline, cohort, data))
    found = explained.attribute(samples, task.target, task.steps)
    features = without_features(feature_table(found, samples), checks.exclude)
    if features.empty:
        message = "explain: every measured feature is excluded. Exclude fewer."
        raise CohortError(message)
    gaps = completeness_gaps(found, samples)
    stability, again = stability_of(explained, found, samples, retrained, task)
    aucs, exclusion = with_and_without(learn, explained, cohort, features, task)
    few = max(4, task.steps // 4)
    random = [
        other.attribute(samples, task.target, few).values
        for other in explained.sanity(_NUM_REDRAWS)
    ]
    permutation = permuted(explained, samples, features, task)
    for name, table in (("", stability), ("retrained_", again)):
        features = joined(features, table, name)
    return AttributionResult(
        label=str(task.cohort.roles.label),
        classes=data.classes,
        baseline=baseline_words(checks.baseline, data) + explained.baseline_note,
        top=task.top,
        features=features,
        layers=layer_table(features, found, samples, task.seed),
        subjects=subject_table(found, samples),
        values=value_table(found, samples),
        completeness_error=float(gaps.mean()),
        randomised=check_randomised(found.values, random, task.top, explained.sanity_title),
        training_auc=explained.training_auc,
        notices=(
            *data.notices,
            *notices_of(samples, gaps, explained.training_auc, stability, again),
        ),
        explained=explained.title,
        completeness_median=float(np.median(gaps)),
        completeness_max=float(gaps.max()),
        held_out_auc=aucs,
        stability=stability,
        retrained=again,
        permutation=permutation,
        exclusion=exclusion,
    )
