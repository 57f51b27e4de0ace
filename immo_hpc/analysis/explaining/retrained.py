"""The network trained anew, with another seed and without a fold of the training people.

What a network names among its top features depends on how its weights were drawn and on who
taught it. Held-out people stay held out; the preparation stays as it was fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.attribution_tables import ranking
from immo_hpc.analysis.explaining.baseline import Kind, baseline_of, targets
from immo_hpc.analysis.explaining.latent import latent_classifier
from immo_hpc.analysis.explaining.leaving_out import hidden
from immo_hpc.analysis.explaining.people import owners
from immo_hpc.analysis.explaining.stability import Refit
from immo_hpc.analysis.labels import labelled_samples
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.split import split_samples, subject_folds
from immo_hpc.inference import forward
from immo_hpc.nn import ImmoModel
from immo_hpc.train import train

_MOST_FOLDS = 5


@dataclass(frozen=True)
class _Network:
    """A network with what `latent_classifier` asks of a trained model."""

    model: ImmoModel

    def embed(self, cohort: PreparedCohort) -> NDArray[np.float32]:
        return forward.embed(self.model, cohort)


def retrain(
    cohort: PreparedCohort,
    config: ImmoConfig,
    number: int,
    *,
    exclude: tuple[str, ...] = (),
    baseline: Kind = "mean",
    steps: int = 16,
) -> Refit:
    """Train one network and rank features by its attributions on the held-out people.

    Args:
        cohort: The prepared samples of the run, with split and label.
        config: Configuration of the run.
        number: Which retraining, from 0 on; each has a seed and a left-out fold of its own.
        exclude: Patterns of features that the network shall not see.
        baseline: As in `immo_hpc.analysis.explaining.baseline`.
        steps: Steps of the path from the baseline.

    Raises:
        CohortError: As for `labelled_samples`.
    """
    cohort = hidden(cohort, exclude)
    data = labelled_samples(cohort)
    test = data.index[~data.training]
    seed = config.seed + 1 + number
    kept, sides = _people(cohort, config, number, seed)
    taught = replace(cohort.take(kept), split=sides)
    network = train(taught, config.model_copy(update={"seed": seed})).model
    split = np.concatenate([sides, np.full(len(test), "test")])
    both = replace(cohort.take(np.concatenate([kept, test])), split=split)
    own = labelled_samples(both)
    classifier = latent_classifier(
        _Network(network), both, own, seed, baseline_of(baseline, both, own)
    )
    samples = cohort.take(test)
    return ranking(classifier.attribute(samples, targets(samples, data), steps), samples)


def _people(
    cohort: PreparedCohort, config: ImmoConfig, number: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Samples of the people who teach, and their sides: a fold of people is left out."""
    training = cohort.indices("train", "validation")
    people = owners(cohort)[training]
    labels = None if cohort.labels is None else cohort.labels.iloc[training]
    num_folds = min(_MOST_FOLDS, len(set(people)))
    folds = subject_folds(people, labels, num_folds, config.seed + 1 + number // num_folds)
    kept = training[folds[number % num_folds][0]]
    split = config.split.model_copy(update={"test_fraction": 0.0, "test_batches": ()})
    return kept, split_samples(cohort.samples.iloc[kept], cohort.roles, split, seed)


def to_values(refit: Refit) -> dict[str, Any]:
    """A refit as JSON values."""
    return {
        "strength": {name: values.tolist() for name, values in refit.strength.items()},
        "direction": {name: values.tolist() for name, values in refit.direction.items()},
    }


def from_values(values: dict[str, Any]) -> Refit:
    """The refit that `to_values` described."""
    return Refit(
        {name: np.array(own, dtype=np.float64) for name, own in values["strength"].items()},
        {name: np.array(own, dtype=np.int64) for name, own in values["direction"].items()},
    )
